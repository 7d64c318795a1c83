"""The operation that is somebody's last."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.kills.case import Moment, Victim, draw
from workers.protocol import Saved
from workers.reporter import Reporter
from workers.storage import Store, local_path
from workers.training.share import Share

#: Tells a worker which case it is part of: {"seed", "folder"}.
VARIABLE = "LOCKSTEP_TEST_KILLS"
OPERATIONS = ("put", "create", "head", "get", "list", "delete")
_IN_FLIGHT_SECONDS = 0.002
_DEATH = "death"


class Countdown:
    """Counts operations in this process, and has somebody die at one of them.

    Args:
        last: the number of that operation.
        die: called there; it may return, if somebody else has died already.
    """

    def __init__(self, last: int, moment: Moment, soon_seconds: float, die: Callable[[str], None]) -> None:
        self._last, self._moment, self._soon, self._die = last, moment, soon_seconds, die
        self._lock, self._count = threading.Lock(), 0

    def counted(self, name: str, operation: Callable[..., Any]) -> Callable[..., Any]:
        """The operation, which may be the last one."""

        def call(owner: Any, *arguments: Any, **named: Any) -> Any:
            if name == "delete":  # each object on its own
                for each in arguments[0]:
                    one(owner, [each])
                return None
            return one(owner, *arguments, **named)

        def one(owner: Any, *arguments: Any, **named: Any) -> Any:
            with self._lock:
                self._count += 1
                is_last = self._count == self._last
            what = f"{name} {arguments[0] if arguments and name in OPERATIONS else ''}".strip()
            if is_last:
                self._before(what, owner, name, *arguments)
            result = operation(owner, *arguments, **named)
            if is_last and self._moment is Moment.AFTER:
                self._die(what)
            if is_last and self._moment is Moment.SOON:
                threading.Timer(self._soon, self._die, [what]).start()
            return result

        return call

    def _before(self, what: str, owner: Any, name: str, *arguments: Any) -> None:
        if self._moment is Moment.BEFORE:
            self._die(what)
        if self._moment is Moment.MIDST:
            if name in ("put", "create") and owner.uri.startswith("file:"):
                _leave_half(owner, *arguments)
                self._die(what)
            threading.Timer(_IN_FLIGHT_SECONDS, self._die, [what]).start()


def _leave_half(store: Store, name: str, data: bytes) -> None:
    """What a writer leaves that is killed while it writes."""
    path = local_path(store.uri) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_name(f"{path.name}#17").write_bytes(bytes(data)[: len(data) // 2])


def arm() -> None:
    """In a worker: be ready to die, if this is that sort of case."""
    told = json.loads(os.environ.get(VARIABLE, "{}"))
    if not told:
        return
    case, folder = draw(told["seed"]), Path(told["folder"])
    (folder / f"pid-{os.getpid()}").touch()
    if case.victim is Victim.SUPERVISOR:
        return

    def die(what: str) -> None:
        try:
            with (folder / _DEATH).open("x") as file:  # one death is enough
                file.write(f"worker: {what}")
        except FileExistsError:
            return
        if case.victim is Victim.WORKERS:
            kill_all(folder, but=os.getpid())
        os.kill(os.getpid(), signal.SIGKILL)

    countdown = Countdown(case.operation, case.moment, case.soon_seconds, die)
    for name in OPERATIONS:
        setattr(Store, name, countdown.counted(name, getattr(Store, name)))
    Share.copy_rest = countdown.counted("copy", Share.copy_rest)  # type: ignore[method-assign]
    report = Reporter.report
    counted = countdown.counted("report", report)
    Reporter.report = lambda self, kind, **fields: (  # type: ignore[method-assign]
        (counted if kind is Saved else report)(self, kind, **fields)
    )


def death(folder: Path) -> str | None:
    """At what a worker has died; None if none has."""
    path = folder / _DEATH
    return path.read_text() if path.exists() else None


def kill_all(folder: Path, but: int = 0) -> None:
    """Kill all workers of a case."""
    for path in folder.glob("pid-*"):
        pid = int(path.name.removeprefix("pid-"))
        if pid != but:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
