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


def end(pid: int, *, stacks: bool, timeout: float = 0.5) -> str:
    """On the worker's machine: kill a process; returns its stacks, or nothing if it did not write any."""
    text = ""
    if stacks:
        with suppress(OSError):
            text = _ask(pid, timeout)
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    return text


def _ask(pid: int, timeout: float) -> str:
    file = _find(pid)
    if file is None:
        return ""
    os.kill(pid, _SIGNAL)
    os.kill(pid, signal.SIGCONT)  # it may be stopped
    deadline, size = time.monotonic() + timeout, 0
    while time.monotonic() < deadline:
        time.sleep(_LOOK_SECONDS)
        before, size = size, file.stat().st_size
        if size and size == before:
            break
    return file.read_text(errors="replace")


def _find(pid: int) -> Path | None:
    """The file in which a process writes its stacks: it has no name any more, but its owner has it open."""
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):
            if _NAME in os.readlink(entry):
                return entry
    return None
