"""Processes that are kept ready: to start one takes seconds, and a lost worker's place should not be empty
that long.

A standby has imported, opened and built all that a worker builds before it meets the others, on each node
where the job has workers. It holds no CPU and no GPU of its own: it takes over those of whom it replaces.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from ray.exceptions import RayError

from workers.protocol import StandsBy

#: A job is left alone for so long after its workers changed: to start a process takes CPUs from the others.
QUIET_SECONDS = 5.0
#: Standbys that may fail to start, one after another, before there are none any more.
FAILURES = 3


@dataclass(frozen=True, kw_only=True)
class _Standby:
    handle: Any
    node: str


class Standbys:
    """At most one standby on each node.

    Args:
        start: starts a process on a given node; returns the actor.
        ask: has the answer of a call come with the crew's other answers.
        kill: ends the process of an actor.
        wanted: whether to keep any.
        clock: seconds that never run backwards.
    """

    def __init__(
        self,
        start: Callable[[str], Any],
        ask: Callable[[Any], Future[Any]],
        kill: Callable[[Any], None],
        *,
        wanted: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._start, self._ask, self._kill, self._wanted, self._clock = start, ask, kill, wanted, clock
        self._starting: dict[Future[Any], _Standby] = {}
        self._ready: dict[str, _Standby] = {}  # by node
        self._failures = 0
        self._changed_at = self._clock()

    def disturbed(self) -> None:
        """The job's workers have changed."""
        self._changed_at = self._clock()

    def keep(self, nodes: Collection[str]) -> None:
        """None elsewhere than on these nodes; on each of them one, once the job has been quiet a while."""
        for node in [node for node in self._ready if node not in nodes]:
            self._kill(self._ready.pop(node).handle)
        if not self._wanted or self._clock() - self._changed_at < QUIET_SECONDS:
            return
        there = {*self._ready, *(standby.node for standby in self._starting.values())}
        for node in sorted(set(nodes) - there) if self._failures < FAILURES else ():
            handle = self._start(node)
            self._starting[self._ask(handle.stand_by.remote())] = _Standby(handle=handle, node=node)

    def answered(self, answer: Future[Any]) -> list[StandsBy]:
        """What is to be told of it: a standby is ready. Nothing of any other answer."""
        standby = self._starting.pop(answer, None)
        if standby is None:
            return []
        try:
            pid = answer.result()
        except RayError:  # the job's own workers say what is wrong, if it is the job
            self._failures += 1
            self._kill(standby.handle)
            self.disturbed()
            return []
        self._failures = 0
        self._ready[standby.node] = standby
        return [StandsBy(node=standby.node, pid=pid)]

    def take(self, node: str | None) -> Any | None:
        """The actor of the standby on a node, which is one no longer; None if none is ready there."""
        standby = self._ready.pop(node or "", None)
        return standby.handle if standby is not None else None

    def close(self) -> None:
        """End all."""
        for standby in [*self._starting.values(), *self._ready.values()]:
            self._kill(standby.handle)
        self._starting, self._ready = {}, {}
