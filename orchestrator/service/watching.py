"""Looks at the cluster, in one thread: which nodes are up, and which attempts have supervisors there."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence

import ray

from orchestrator.following import supervisors
from orchestrator.service.attempts import Attempts, Key
from orchestrator.service.executor import ClusterNode
from orchestrator.service.telling import first_line, node_of

_log = logging.getLogger(__name__)

_LOOK_SECONDS = 1.0  # between looks
_STALE_SECONDS = 15.0  # a cluster that was last seen so long ago does not answer
_CLOSE_SECONDS = 30.0


class Watch:
    """Of the cluster that this process is connected to.

    Args:
        attempts: are told which of them are there.
        attempt_of: which one a supervisor's name means; None for somebody else's.
    """

    def __init__(self, attempts: Attempts, attempt_of: Callable[[str], Key | None]) -> None:
        self._attempts, self._attempt_of = attempts, attempt_of
        self._seen: tuple[float, tuple[ClusterNode, ...]] | None = None
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

    def begin(self) -> None:
        """Look from now on."""
        self._thread.start()

    def close(self) -> None:
        """Look no more: this process is about to leave the cluster, and to look would join it again."""
        self._closed.set()
        self._thread.join(_CLOSE_SECONDS)

    def nodes(self) -> Sequence[ClusterNode] | None:
        """See `Executor.nodes`."""
        seen = self._seen
        if seen is None or time.monotonic() - seen[0] > _STALE_SECONDS:
            return None
        return seen[1]

    def _run(self) -> None:
        while not self._closed.is_set():
            try:
                nodes = tuple(node_of(facts) for facts in ray.nodes() if facts["Alive"])
                there = {key for name in supervisors() if (key := self._attempt_of(name)) is not None}
            except Exception as error:
                _log.warning("the cluster does not answer: %s", first_line(error))
            else:
                is_news = self._seen is None or self._seen[1] != nodes
                self._seen = (time.monotonic(), nodes)
                self._attempts.see(there)
                if is_news:
                    self._attempts.wake()
            self._closed.wait(_LOOK_SECONDS)
