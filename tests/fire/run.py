"""One run of a script: the real supervisor over real processes, and what came of it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress

from orchestrator.gang.events import Drain, GangEvent, Pause, Resize, Resume
from tests.fire.script import Kind, Script
from tests.support.supervised import NODES, Seen, supervised
from workers.processes import ProcessCrew
from workers.protocol import TrainJob

_STUTTER_SECONDS, _PAUSE_SECONDS, _DRAIN_SECONDS = 0.4, 0.3, 4.0


def run(job: TrainJob, script: Script) -> Seen:
    """Run a job, and do to it what the script says."""
    with supervised(job, script.workers) as (supervisor, crew, seen):
        fire = Fire(script, crew, seen, supervisor.wish)
        supervisor.idle = fire.look
        try:
            seen.outcome = supervisor.run()
        finally:
            fire.thaw()
    return seen


class Fire:
    """Does what the script says, when its steps are committed."""

    def __init__(
        self, script: Script, crew: ProcessCrew, seen: Seen, wish: Callable[[GangEvent], None]
    ) -> None:
        self._todo, self._crew, self._seen, self._wish = list(script.happenings), crew, seen, wish
        self._later: list[tuple[float, Callable[[], None]]] = []
        self._frozen: set[int] = set()

    def look(self) -> None:
        """Called several times a second."""
        now, step = time.monotonic(), max(self._seen.steps, default=0)
        while self._todo and self._todo[0].step <= step:
            happening = self._todo.pop(0)
            self._later.append((now + happening.delay, lambda h=happening: self._do(h.kind, h.number)))
        due = [entry for entry in self._later if entry[0] <= now]
        self._later = [entry for entry in self._later if entry[0] > now]
        for _, act in due:
            act()

    def thaw(self) -> None:
        """Let go of all that is frozen."""
        for pid in self._frozen:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    def _do(self, kind: Kind, number: int) -> None:
        workers = self._crew.workers
        if not workers:
            return
        one, other = workers[number % len(workers)], workers[(number // 7) % len(workers)]
        match kind:
            case Kind.KILL:
                self._signal(signal.SIGKILL, one)
            case Kind.KILL_FIRST:
                self._signal(signal.SIGKILL, self._seen.rank_0 or one)
            case Kind.KILL_TWO:
                self._signal(signal.SIGKILL, one, other)
            case Kind.KILL_ALL:
                self._signal(signal.SIGKILL, *workers)
            case Kind.FREEZE:
                self._signal(signal.SIGSTOP, one)
            case Kind.STUTTER:
                self._signal(signal.SIGSTOP, one)
                self._after(_STUTTER_SECONDS, lambda: self._signal(signal.SIGCONT, one))
            case Kind.RESIZE:
                self._wish(Resize(workers=1 + number % 5))
            case Kind.DRAIN:
                self._wish(Drain(node=NODES[number % len(NODES)], seconds=_DRAIN_SECONDS))
            case Kind.PAUSE:
                self._wish(Pause())
                self._after(_PAUSE_SECONDS, lambda: self._wish(Resume()))

    def _after(self, seconds: float, act: Callable[[], None]) -> None:
        self._later.append((time.monotonic() + seconds, act))

    def _signal(self, number: signal.Signals, *workers: str) -> None:
        for worker in set(workers) & set(self._crew.workers):
            with suppress(ProcessLookupError):
                os.kill(self._crew.pid(worker), number)
                (self._frozen.add if number == signal.SIGSTOP else self._frozen.discard)(
                    self._crew.pid(worker)
                )
