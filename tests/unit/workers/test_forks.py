"""Forked processes have the environment of their parent, and are heard of when they die."""

from __future__ import annotations

import os
import signal
import sys
import time
from contextlib import suppress

import pytest

from workers.forks import start


def _tell(name, connection):
    connection.send((os.environ.get(name), "torch" in sys.modules))
    with suppress(EOFError):
        connection.recv()


@pytest.mark.slow
def test_a_process_has_the_environment_of_the_moment(monkeypatch):
    for value in ("first", "second"):
        monkeypatch.setenv("LOCKSTEP_TEST_FORKS", value)
        process, connection = start(_tell, "LOCKSTEP_TEST_FORKS")
        assert connection.recv() == (value, True)
        connection.send("enough")
        process.join()
        assert process.exitcode == 0
    monkeypatch.delenv("LOCKSTEP_TEST_FORKS")
    _, connection = start(_tell, "LOCKSTEP_TEST_FORKS")
    assert connection.recv()[0] is None


@pytest.mark.slow
def test_that_a_process_was_killed_is_heard_at_once_and_why_is_known():
    one, ours = start(_tell, "HOME")
    _, other = start(_tell, "HOME")
    ours.recv()
    os.kill(one.pid, signal.SIGKILL)
    begin = time.monotonic()
    with pytest.raises(EOFError):
        ours.recv()
    assert time.monotonic() - begin < 2
    one.join()
    assert one.exitcode == -signal.SIGKILL
    assert other.recv() == (os.environ["HOME"], True)
