"""A process that hangs tells where it is, wherever it is, and is gone afterwards."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from workers.stacks import cause, end, last_words

PREPARED = "from workers.stacks import prepare; prepare()\n"
#: What it does after it has said that it is there; all of it inside `stuck`.
HANGS = {
    "in a loop": "while True: pass",
    "in C": "import time; time.sleep(600)",
    "for a lock": "import threading; lock = threading.Lock(); lock.acquire(); lock.acquire()",
    "in a wait for a thread": """
    import threading
    other = threading.Thread(target=threading.Event().wait, name='other')
    other.start()
    other.join()""",
}


@contextmanager
def child(hang: str, before: str = PREPARED) -> Iterator[subprocess.Popen[str]]:
    """A process that has begun to hang."""
    code = f"{before}def stuck():\n    print('here', flush=True)\n    {hang}\nstuck()\n"
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "here\n"
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        assert process.stdin is not None
        process.stdin.close()


@pytest.mark.parametrize("where", HANGS)
def test_a_process_that_hangs_gives_its_stacks_and_dies(where):
    with child(HANGS[where]) as process:
        text = end(process.pid, stacks=True)
        assert "in stuck" in text
        assert process.wait(30) == -signal.SIGKILL


def test_the_stacks_are_those_of_all_threads():
    with child(HANGS["in a wait for a thread"]) as process:
        assert end(process.pid, stacks=True, timeout=5.0).count("most recent call first") >= 1


@pytest.mark.parametrize("_", range(5))
def test_a_loop_in_another_thread_does_not_change_while_it_is_written(_):
    busy = """
    from pathlib import Path
    from threading import Thread
    def spin():
        print('spins', flush=True)
        while True: Path('/proc/self/stat').read_bytes()
    Thread(target=spin, daemon=True).start()
    import time; time.sleep(600)"""
    with child(busy) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "spins\n"
        text = end(process.pid, stacks=True)
        assert "in spin" in text
        assert "in stuck" in text, "of all threads"
        assert process.wait(30) == -signal.SIGKILL


def test_a_process_that_was_stopped_gives_them_too():
    with child(HANGS["in a loop"]) as process:
        os.kill(process.pid, signal.SIGSTOP)
        _, status = os.waitpid(process.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status)
        assert "in stuck" in end(process.pid, stacks=True)
        assert process.wait(30) == -signal.SIGKILL


def test_one_that_was_not_prepared_dies_all_the_same():
    with child(HANGS["in a loop"], before="") as process:
        assert "no stacks" in end(process.pid, stacks=True)
        assert process.wait(30) == -signal.SIGKILL


def test_who_is_not_asked_says_nothing():
    with child(HANGS["in a loop"]) as process:
        assert end(process.pid, stacks=False) == ""
        assert process.wait(30) == -signal.SIGKILL


def test_one_that_is_gone_already_is_no_error():
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    assert "no stacks" in end(process.pid, stacks=True)


def test_one_that_is_deaf_is_not_waited_for_forever():
    deaf = PREPARED + "import signal; signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])\n"
    with child(HANGS["in a loop"], before=deaf) as process:
        assert "did not write any within 0.1 s" in end(process.pid, stacks=True, timeout=0.1)
        assert process.wait(30) == -signal.SIGKILL


def test_nothing_is_left_behind(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with child(HANGS["in a loop"]) as process:
        assert list(tmp_path.iterdir()) == []
        assert end(process.pid, stacks=True)
    assert list(tmp_path.iterdir()) == []


def go_on(process: subprocess.Popen[str]) -> None:
    """Let a process do what it waits for."""
    assert process.stdin is not None
    process.stdin.write("go on\n")
    process.stdin.flush()


BREAKS = {
    "Segmentation fault": "import ctypes; ctypes.string_at(0)",
    "Aborted": "import os; os.abort()",
    "Bus error": "import os, signal; os.kill(os.getpid(), signal.SIGBUS)",
}


@pytest.mark.parametrize("what", BREAKS)
def test_a_process_that_breaks_down_says_where(what):
    with child(f"import sys; sys.stdin.readline(); {BREAKS[what]}") as process:
        words = last_words(process.pid)
        go_on(process)
        assert process.wait(30) < 0
        text = words()
    assert text.startswith(f"Fatal Python error: {what}\n")
    assert cause(text).startswith(f"{what}, in ")
    assert "in stuck" in text


@pytest.mark.parametrize("how", ["import os; os._exit(3)", "import os; os.kill(os.getpid(), 9)"])
def test_who_is_killed_or_exits_has_no_last_words(how):
    with child(f"import sys; sys.stdin.readline(); {how}") as process:
        words = last_words(process.pid)
        go_on(process)
        process.wait(30)
        assert words() == ""


def test_stacks_that_were_asked_for_are_no_last_words():
    with child(HANGS["in C"]) as process:
        words = last_words(process.pid)
        assert "in stuck" in end(process.pid, stacks=True)
        assert words() == ""


def test_a_process_that_never_prepared_has_none_either():
    with child(HANGS["in C"], before="") as process:
        assert last_words(process.pid)() == ""
    assert last_words(process.pid)() == ""
