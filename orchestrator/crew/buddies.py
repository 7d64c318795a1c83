"""Workers on other machines are watched by one another.

That a process is dying is known on its own machine before anywhere else (`workers.lifesign`): so each worker
is watched by another one there, whose answer is what the supervisor hears first. One that is alone on its
machine is told of by its connection only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from ray.exceptions import RayError

from orchestrator.crew.dying import Dying


@dataclass(frozen=True, kw_only=True)
class _Worker:
    node: str
    pid: int
    handle: Any


class Buddies:
    """Who watches whom.

    Args:
        ask: has the answer of a call come with the crew's other answers.
    """

    def __init__(self, ask: Callable[[Any], Future[Any]]) -> None:
        self._ask = ask
        self._workers: dict[str, _Worker] = {}
        self._watches: dict[Future[Any], tuple[str, str]] = {}  # watched, by whom
        self._hopeless: set[str] = set()  # cannot be watched

    def joined(self, worker: str, node: str, pid: int, handle: Any) -> None:
        """A worker is there."""
        self._workers[worker] = _Worker(node=node, pid=pid, handle=handle)
        self._watch_all()

    def left(self, worker: str) -> None:
        """A worker is gone, or need not be watched any more."""
        if self._workers.pop(worker, None) is not None:
            self._watches = {a: pair for a, pair in self._watches.items() if worker not in pair}
            self._watch_all()

    def answered(self, answer: Future[Any]) -> Dying | None:
        """The worker that is dying, if that is what an answer says."""
        watched, _ = self._watches.pop(answer, (None, None))
        if watched is None:
            return None
        try:
            words: str | None = answer.result()
        except RayError:  # it is the buddy that is dying: that is heard of too, and others take over
            return None
        if words is None:
            self._hopeless.add(watched)
            return None
        return Dying(worker=watched, words=words)

    def _watch_all(self) -> None:
        """Have each worker watched by whoever on its node has the least to watch."""
        watched = {worker for worker, _ in self._watches.values()} | self._hopeless
        for worker in [name for name in self._workers if name not in watched]:
            facts, busy = self._workers[worker], Counter(by for _, by in self._watches.values())
            there = [n for n, other in self._workers.items() if n != worker and other.node == facts.node]
            if there:
                by = min(there, key=lambda name: busy[name])
                asked = self._workers[by].handle.watch.remote(facts.pid)
                self._watches[self._ask(asked)] = (worker, by)
