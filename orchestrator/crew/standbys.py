"""Processes that are kept ready: to start one takes seconds, and a lost worker's place should not be empty
that long.

A standby has imported, opened and built all that a worker builds before it meets the others, on each node
where the job has workers. It holds no CPU and no GPU of its own: it takes over those of whom it replaces.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import RayError

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
        start: starts a process of a given name on a given node; returns the actor.
        ask: has the answer of a call come with the crew's other answers.
        wanted: whether to keep any.
    """

    def __init__(
        self, start: Callable[[str, str], Any], ask: Callable[[Any], Future[Any]], *, wanted: bool = True
    ) -> None:
        self._start, self._ask, self._wanted = start, ask, wanted
        self._starting: dict[Future[Any], _Standby] = {}
        self._ready: dict[str, _Standby] = {}  # by node
        self._named = self._failures = 0
        self._changed_at = time.monotonic()

    def disturbed(self) -> None:
        """The job's workers have changed."""
        self._changed_at = time.monotonic()

    def keep(self, nodes: Collection[str]) -> None:
        """Have one on each of these nodes and none elsewhere, once the job has been quiet for a while."""
        if not self._wanted or time.monotonic() - self._changed_at < QUIET_SECONDS:
            return
        for node in [node for node in self._ready if node not in nodes]:
            ray.kill(self._ready.pop(node).handle)
        there = {*self._ready, *(standby.node for standby in self._starting.values())}
        for node in set(nodes) - there if self._failures < FAILURES else ():
            handle = self._start(f"standby-{self._named}", node)
            self._named += 1
            self._starting[self._ask(handle.stand_by.remote())] = _Standby(handle=handle, node=node)

    def answered(self, answer: Future[Any]) -> None:
        """A standby is ready, or could not be started; any other answer means nothing."""
        standby = self._starting.pop(answer, None)
        if standby is None:
            return
        try:
            answer.result()
        except RayError:  # the job's own workers say what is wrong, if it is the job
            self._failures += 1
            self._end(standby)
            self.disturbed()
        else:
            self._failures = 0
            self._ready[standby.node] = standby

    def take(self, node: str | None) -> Any | None:
        """The actor of the standby on a node, which is one no longer; None if none is ready there."""
        standby = self._ready.pop(node or "", None)
        return standby.handle if standby is not None else None

    def close(self) -> None:
        """End all."""
        for standby in [*self._starting.values(), *self._ready.values()]:
            self._end(standby)
        self._starting, self._ready = {}, {}

    def _end(self, standby: _Standby) -> None:
        with suppress(RayError):
            ray.kill(standby.handle)
