"""The Python stacks of a process that hangs, wherever it hangs: in a loop, in C, or stopped.

A worker lets the interpreter write them into a file on a signal, from within the signal's handler, which
needs no lock that the hanging thread may hold. Whoever ends the worker sends the signal and reads the file.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import IO

_SIGNAL = signal.SIGUSR1
_NAME = "lockstep-stacks-"
_LOOK_SECONDS = 0.01
_kept: list[IO[str]] = []  # the file stays open as long as the process lives


def prepare() -> None:
    """In the worker: be ready to write stacks."""
    handle, path = tempfile.mkstemp(prefix=_NAME)
    os.unlink(path)  # nothing is left behind, and nobody else can open it
    file = os.fdopen(handle, "w")
    _kept.append(file)
    faulthandler.register(_SIGNAL, file=file, all_threads=True)


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


def _ask(pid: int, timeout: float) -> str:
    with _find(pid).open(errors="replace") as file:  # what it wrote is there even if it dies of writing it
        os.kill(pid, _SIGNAL)
        os.kill(pid, signal.SIGCONT)  # it may be stopped
        deadline, size = time.monotonic() + timeout, 0
        while time.monotonic() < deadline:
            time.sleep(_LOOK_SECONDS)
            before, size = size, os.fstat(file.fileno()).st_size
            if size and size == before:
                break
        return file.read() or f"(no stacks: process {pid} did not write any within {timeout:g} s)"


def _find(pid: int) -> Path:
    """The file in which a process writes its stacks: it has no name any more, but its owner has it open."""
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):
            if _NAME in os.readlink(entry):
                return entry
    raise ProcessLookupError(f"process {pid} has not opened a file for them")
