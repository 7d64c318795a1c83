"""Real sockets: a connection that closes is told at once, one that is forgotten never."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from queue import Empty, SimpleQueue

import pytest

from orchestrator.crew.dying import Dying
from orchestrator.crew.lifelines import Lifelines


class Served:
    """What a worker serves."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.settimeout(10)
        self.address = f"127.0.0.1:{self.listener.getsockname()[1]}"

    def accept(self) -> socket.socket:
        return self.listener.accept()[0]


@pytest.fixture
def served() -> Iterator[Served]:
    found = Served()
    yield found
    found.listener.close()


@pytest.fixture
def closed() -> SimpleQueue[Dying]:
    return SimpleQueue()


@pytest.fixture
def lifelines(closed: SimpleQueue[Dying]) -> Iterator[Lifelines]:
    found = Lifelines(closed.put)
    yield found
    found.close()


def test_a_connection_that_closes_is_told(lifelines, closed, served):
    lifelines.watch("a", served.address)
    served.accept().close()
    assert closed.get(timeout=10) == Dying(worker="a")


def test_one_that_is_reset_too(lifelines, closed, served):
    lifelines.watch("a", served.address)
    end = served.accept()
    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    end.close()
    assert closed.get(timeout=10) == Dying(worker="a")


def test_what_is_said_on_it_means_nothing(lifelines, closed, served):
    lifelines.watch("a", served.address)
    end = served.accept()
    end.sendall(b"x" * 5000)
    with pytest.raises(Empty):
        closed.get(timeout=0.1)
    end.close()
    assert closed.get(timeout=10) == Dying(worker="a")


def test_nothing_follows_from_one_that_never_came_about(lifelines, closed, served):
    served.listener.close()
    lifelines.watch("a", served.address)
    other = Served()
    lifelines.watch("b", other.address)
    other.accept().close()
    assert closed.get(timeout=10) == Dying(worker="b")
    assert closed.empty()


def test_who_is_forgotten_is_not_told_of_and_the_connection_is_closed(lifelines, closed, served):
    lifelines.watch("a", served.address)
    end = served.accept()
    lifelines.forget("a")
    lifelines.forget("nobody")
    end.settimeout(10)
    assert end.recv(1) == b""
    end.close()
    other = Served()
    lifelines.watch("b", other.address)
    other.accept().close()
    assert closed.get(timeout=10) == Dying(worker="b")
    assert closed.empty()


def test_closing_ends_all(lifelines, served):
    lifelines.watch("a", served.address)
    lifelines.watch("b", served.address)
    ends = [served.accept(), served.accept()]
    lifelines.close()
    for end in ends:
        end.settimeout(10)
        assert end.recv(1) == b""
        end.close()


def test_a_process_on_this_machine_is_told_of_once_however_many_signs_there_are(lifelines, closed, served):
    code = "from workers.lifesign import give; give(); print('here', flush=True); input()"
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "here\n"
        lifelines.watch("a", served.address)
        lifelines.watch_here("a", process.pid)
        end = served.accept()
        process.kill()
        assert closed.get(timeout=10) == Dying(worker="a")
        end.close()
    lifelines.watch("b", served.address)
    served.accept().close()
    assert closed.get(timeout=10) == Dying(worker="b"), "and not a once more"
