"""One rank's program as a process of this machine, with its output; see `workers.script.guard`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock, Thread
from typing import IO, Any

from workers.script import guard
from workers.script.files import StreamFile
from workers.script.traces import last_traceback

#: A line that is longer is passed on in pieces.
LINE_BYTES_MAX = 16 * 1024
#: Lines of stderr in which a traceback is looked for.
_LAST_LINES = 400
_LAST_WORDS = 5
#: What a program leaves in its pipes is read for so long after its end.
_DRAIN_SECONDS = 10.0


@dataclass(frozen=True, kw_only=True)
class End:
    """How a program ended.

    Attributes:
        code: its exit code, or
        signal: the number of the signal that ended it, or
        error: why it could not be started.
        trace: the Python traceback that it wrote last.
        last: its last words on stderr.
    """

    code: int | None = None
    signal: int | None = None
    error: str | None = None
    trace: str | None = None
    last: str = ""


class ScriptProcess:
    """A program that runs. Nothing that it starts outlives it, or this process.

    Args:
        command: the program and its arguments.
        environment: all of it.
        folder: where it runs.
        files: where its output is kept: stream → file.
        on_line: takes "stdout" or "stderr" and each line, without its end; from threads. May block: then the
            program does too, when its pipe is full.
        on_start: called with its process id.
        on_end: called once, when it has ended and every line was passed on.
    """

    def __init__(
        self,
        command: tuple[str, ...],
        environment: Mapping[str, str],
        folder: Path,
        *,
        files: Mapping[str, Path],
        on_line: Callable[[str, str], None],
        on_start: Callable[[int], None],
        on_end: Callable[[End], None],
    ) -> None:
        self._on_line, self._on_start, self._on_end = on_line, on_start, on_end
        self._last: deque[str] = deque(maxlen=_LAST_LINES)
        self._error_file = environment.get("TORCHELASTIC_ERROR_FILE")
        self._lock = Lock()
        theirs, self._life = os.pipe()
        status, told = os.pipe()
        try:
            process = subprocess.Popen(
                [sys.executable, "-I", guard.__file__, str(theirs), str(told), *command],
                cwd=folder,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                pass_fds=(theirs, told),
                bufsize=-1,
            )
        finally:
            os.close(theirs)
            os.close(told)
        self._readers = [
            Thread(
                target=self._read, args=(name, stream, files.get(name)), name=f"script-{name}", daemon=True
            )
            for name, stream in (("stdout", process.stdout), ("stderr", process.stderr))
            if stream is not None
        ]
        for reader in self._readers:
            reader.start()
        Thread(target=self._wait, args=(process, status), name="script-end", daemon=True).start()

    def terminate(self) -> None:
        """Ask the program to end (SIGTERM)."""
        self._order(b"T")

    def kill(self) -> None:
        """End it and all that it started (SIGKILL)."""
        self._order(b"K")

    def _order(self, order: bytes) -> None:
        with self._lock, suppress(OSError):  # its guard has ended, and so has it
            if self._life >= 0:
                os.write(self._life, order)

    def _read(self, name: str, stream: IO[bytes], path: Path | None) -> None:
        file = StreamFile(path) if path is not None else None
        while data := stream.readline(LINE_BYTES_MAX):
            if file is not None:
                file.write(data)
            text = as_shown(data.decode(errors="replace"))
            if name == "stderr":
                self._last.append(text)
            self._on_line(name, text)
        if file is not None:
            file.close()
        stream.close()

    def _wait(self, process: subprocess.Popen[bytes], status: int) -> None:
        process.wait()  # the guard is its child, and none of ours
        pid: int | None = None
        told: dict[str, Any] = {}
        with os.fdopen(status, "rb") as file:
            for line in file:
                told = json.loads(line)
                if "pid" in told:
                    pid = told["pid"]
                    self._on_start(told["pid"])
        if told.keys() == {"pid"} and pid is not None:  # the guard itself was killed
            with suppress(OSError):
                os.killpg(pid, 9)
            told = {"signal": 9}
        for reader in self._readers:
            reader.join(_DRAIN_SECONDS)
        with self._lock:
            os.close(self._life)
            self._life = -1
        words = list(self._last)
        self._on_end(
            End(
                code=told.get("code"),
                signal=told.get("signal"),
                error=told.get("error", None if told else "its guard could not be started"),
                trace=_recorded(self._error_file) or last_traceback(words),
                last="\n".join([line for line in words if line.strip()][-_LAST_WORDS:]),
            )
        )


def as_shown(line: str) -> str:
    """A line as a terminal shows it: what a progress bar wrote over is gone."""
    text = line.rstrip("\r\n")
    return next((part for part in reversed(text.split("\r")) if part), "")


def _recorded(path: str | None) -> str | None:
    """The traceback that `torch.distributed.elastic`'s `@record` has written, if the program uses it."""
    if path is None:
        return None
    with suppress(OSError, ValueError, TypeError, KeyError):
        trace: str = json.loads(Path(path).read_text())["message"]["extraInfo"]["py_callstack"]
        return last_traceback(trace.splitlines())
    return None
