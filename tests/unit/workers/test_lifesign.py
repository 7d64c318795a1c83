"""A death is told to others on the machine, whatever kind it is; a stopped process is not dead."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from workers.lifesign import watch

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells")

GIVES = "from workers.lifesign import give; give()\n"
STAYS = "print('here', flush=True); input()"


@contextmanager
def child(code: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "here\n"
        yield process
    finally:
        process.kill()
        process.communicate()


@contextmanager
def watched(process: subprocess.Popen[str], times: int = 1) -> Iterator[list[Future[bool]]]:
    with ThreadPoolExecutor(times) as pool:
        dying = [watch(process.pid) for _ in range(times)]
        found = [pool.submit(is_dying) for is_dying in dying if is_dying is not None]
        assert len(found) == times
        try:
            yield found
        finally:
            process.kill()  # or the threads would never end


def test_a_kill_is_told_to_all_who_watch():
    with child(GIVES + STAYS) as process, watched(process, 3) as deaths:
        process.kill()
        assert [death.result(timeout=10) for death in deaths] == [True] * 3


def test_an_end_of_its_own_is_told_too():
    with child(GIVES + STAYS) as process, watched(process) as (death,):
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
        assert death.result(timeout=10)


def test_a_process_that_is_stopped_lives():
    with child(GIVES + STAYS) as process, watched(process) as (death,):
        process.send_signal(signal.SIGSTOP)
        _, status = os.waitpid(process.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status)
        with pytest.raises(TimeoutError):
            death.result(timeout=0.2)
        process.kill()
        assert death.result(timeout=10)


def test_a_child_of_its_own_does_not_keep_it_alive():
    """Whoever forks hands its open files down, and no lock."""
    forks = "import os\nif os.fork() == 0: input(); os._exit(0)\n"  # until nobody can write to it any more
    with child(GIVES + forks + STAYS) as process, watched(process) as (death,):
        process.kill()
        assert death.result(timeout=10)


def test_who_gives_no_sign_is_not_waited_for():
    with child(STAYS) as process:
        assert watch(process.pid) is None
    assert watch(process.pid) is None, "nor is who is gone"
