"""The life of one rank on its machine: it is up, is launched, ends. What happens is told as reports."""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from threading import Lock
from typing import Any

from workers.script.process import End, ScriptProcess
from workers.script.protocol import Exited, Launch, Line, Refused, Report, Started, Up

#: What is ours in the environment, and none of the program's business: secrets among it.
_OURS = ("RAY_", "LOCKSTEP_")


class Runner:
    """Runs one rank, once.

    Args:
        rank, attempt: which it is.
        folder: where its program runs.
        logs: the folder for its output; None to keep none.
        tell: takes each report, in order; called from threads.
    """

    def __init__(
        self, rank: int, attempt: int, *, folder: Path, logs: Path | None, tell: Callable[[Report], None]
    ) -> None:
        self._rank, self._attempt, self._tell = rank, attempt, tell
        self._folder, self._logs = folder, logs
        self._lock = Lock()
        self._process: ScriptProcess | None = None
        self._over = False

    def up(self, *, node: str, node_id: str, host: str, gpus: tuple[str, ...]) -> None:
        """Tell that there is a place."""
        self._tell(
            Up(
                **self._stamp(),
                node=node,
                node_id=node_id,
                host=host,
                port=free_port(host),
                gpus=gpus,
            )
        )

    def launch(self, order: Launch) -> None:
        """Start the program. A second order changes nothing."""
        with self._lock:
            if self._process is not None or self._over:
                return
            environment = environment_of(order.environment)
            environment["TORCHELASTIC_ERROR_FILE"] = self._error_file()
            try:
                self._process = ScriptProcess(
                    order.command,
                    environment,
                    self._folder,
                    files=self._files(),
                    on_line=self._line,
                    on_start=lambda pid: self._tell(Started(**self._stamp(), pid=pid)),
                    on_end=lambda end: self._ended(order, end),
                )
            except OSError as error:
                self._over = True
                message = f"{self._folder}: {error.strerror or error}"
                self._tell(Refused(**self._stamp(), message=message))

    def terminate(self) -> None:
        """Ask the program to end. One that was never started does not any more."""
        self._end(lambda process: process.terminate())

    def kill(self) -> None:
        """End it and all that it has started."""
        self._end(lambda process: process.kill())

    def _end(self, how: Callable[[ScriptProcess], None]) -> None:
        with self._lock:
            if self._process is not None:
                how(self._process)
            elif not self._over:
                self._over = True
                self._tell(Exited(**self._stamp(), code=None, signal=15, last="it was never started"))

    def _line(self, stream: str, text: str) -> None:
        self._tell(Line(**self._stamp(), stream=stream, text=text))

    def _ended(self, order: Launch, end: End) -> None:
        if end.error is not None:
            message = f"{order.command[0]!r} cannot be started: {end.error}"
            self._tell(Refused(**self._stamp(), message=message))
            return
        self._tell(Exited(**self._stamp(), code=end.code, signal=end.signal, trace=end.trace, last=end.last))

    def _files(self) -> Mapping[str, Path]:
        if self._logs is None:
            return {}
        folder = self._logs / f"attempt-{self._attempt}"
        return {"stdout": folder / f"rank-{self._rank}.out", "stderr": folder / f"rank-{self._rank}.err"}

    def _error_file(self) -> str:
        if self._logs is None:
            return os.devnull
        return str(self._logs / f"attempt-{self._attempt}" / f"rank-{self._rank}.error.json")

    def _stamp(self) -> dict[str, Any]:
        return {"rank": self._rank, "attempt": self._attempt, "time": time.time()}


def environment_of(more: Mapping[str, str]) -> dict[str, str]:
    """What a program finds in its environment: the machine's, without what is ours, and `more`.

    `python` is the interpreter that runs us, unless PATH is among `more`.
    """
    mine = {name: value for name, value in os.environ.items() if not name.startswith(_OURS)}
    mine["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), mine.get("PATH", os.defpath)])
    mine["PYTHONUNBUFFERED"] = "1"  # its lines should be seen when they are written
    return {**mine, **more}


def free_port(host: str) -> int:
    """A port that nobody has on this host at the moment. Somebody may, before it is used: then the group
    fails to meet, and is started again."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as listener:
        listener.bind((host, 0))
        port: int = listener.getsockname()[1]
        return port
