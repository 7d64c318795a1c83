"""The Python stacks of a process that hangs, wherever it hangs, and of one that breaks down.

A worker lets the interpreter write them into a file on a signal, from within the signal's handler, which
needs no lock that the hanging thread may hold. Whoever ends the worker sends the signal and reads the file.
On a signal such as SIGSEGV the interpreter writes them too, as the last thing that the process does: they are
its last words, for who has the file open by then.

The handler also reads the frames of threads other than its own, and crashes if they change under its eyes. So
the signal goes to the busiest thread: in a loop it is the one that holds the interpreter's lock.
"""

from __future__ import annotations

import ctypes
import faulthandler
import os
import re
import signal
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO

_SIGNAL = signal.SIGUSR1
_NAME = "lockstep-stacks-"
_FATAL = "Fatal Python error: "
_FIRST_FRAME = re.compile(r'^Current thread .*\n  File "(.+)", line (\d+) in (.+)$', re.MULTILINE)
_LOOK_SECONDS = 0.02
_SETTLED_LOOKS = 10  # without a further word: it may have to wait for a core between two of them
_kept: list[IO[str]] = []  # the file stays open as long as the process lives


def prepare() -> None:
    """In the worker: be ready to write stacks, on being asked and on breaking down."""
    handle, path = tempfile.mkstemp(prefix=_NAME)
    os.unlink(path)  # nothing is left behind, and nobody else can open it
    file = os.fdopen(handle, "w")
    _kept.append(file)
    faulthandler.register(_SIGNAL, file=file, all_threads=True)
    faulthandler.enable(file=file, all_threads=True)


def end(pid: int, *, stacks: bool, timeout: float = 3.0) -> str:
    """On the worker's machine: kill a process; returns its stacks, or in brackets why there are none.

    Args:
        pid: the process.
        stacks: whether to ask for its stacks first.
        timeout: seconds to wait for them; on a crowded machine it may not run for a while.
    """
    text = ""
    if stacks:
        try:
            text = _ask(pid, timeout)
        except OSError as error:  # it is gone, or never was ready to write them
            text = f"(no stacks: {error})"
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    return text


def last_words(pid: int) -> Callable[[], str]:
    """On the worker's machine, while it lives: a function that reads, later, what it wrote on breaking down.

    That is empty if it wrote nothing: it was killed, or exited, or had never been ready to.
    """
    try:
        file = _find(pid).open(errors="replace")
    except OSError:
        return str

    def read() -> str:
        with file:
            _, fatal, words = file.read().rpartition(_FATAL)
            return fatal + words if fatal else ""

    return read


def cause(words: str) -> str:
    """Of last words: what happened, and where in Python."""
    what = words.partition("\n")[0].removeprefix(_FATAL).strip()
    where = _FIRST_FRAME.search(words)
    return f"{what}, in {where[3]} ({where[1]}, line {where[2]})" if where else what


def _ask(pid: int, timeout: float) -> str:
    with _find(pid).open(errors="replace") as file:  # what it wrote is there even if it dies of writing it
        thread = _busiest_thread(pid)
        if ctypes.CDLL(None, use_errno=True).tgkill(pid, thread, _SIGNAL):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        os.kill(pid, signal.SIGCONT)  # it may be stopped
        deadline, size, settled = time.monotonic() + timeout, 0, 0
        while settled < _SETTLED_LOOKS and time.monotonic() < deadline:
            time.sleep(_LOOK_SECONDS)
            before, size = size, os.fstat(file.fileno()).st_size
            settled = settled + 1 if size and size == before else 0
        return file.read() or f"(no stacks: process {pid} did not write any within {timeout:g} s)"


def _busiest_thread(pid: int) -> int:
    """The thread that ran most in the last moment; if none did, the one that ever did."""
    before = _run_nanoseconds(pid)
    time.sleep(_LOOK_SECONDS)
    after = _run_nanoseconds(pid)
    return max(after, key=lambda thread: (after[thread] - before.get(thread, 0), after[thread]), default=pid)


def _run_nanoseconds(pid: int) -> dict[int, int]:
    found = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(OSError):  # it has ended meanwhile
            found[int(task.name)] = int((task / "schedstat").read_text().split()[0])
    return found


def _find(pid: int) -> Path:
    """The file in which a process writes its stacks: it has no name any more, but its owner has it open."""
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):
            if _NAME in os.readlink(entry):
                return entry
    raise ProcessLookupError(f"process {pid} has not opened a file for them")
