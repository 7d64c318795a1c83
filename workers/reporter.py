"""Puts events into a worker's outbox, each stamped with the worker's name, time, clock and use."""

from __future__ import annotations

import time
from typing import Any

from workers.outbox import Outbox
from workers.protocol import Event
from workers.telemetry import Meter, Stopwatch


class Reporter:
    """What the engine reports through."""

    def __init__(self, worker_id: str, outbox: Outbox) -> None:
        self.worker_id = worker_id
        self.stopwatch = Stopwatch()
        self.meter = Meter()
        self._outbox = outbox

    def begin(self, worker_id: str) -> None:
        """Be this worker from now on; what was before does not count."""
        self.worker_id, self.stopwatch = worker_id, Stopwatch()

    def report(self, kind: type[Event], **fields: Any) -> None:
        """Send an event of this kind."""
        self._outbox.put(
            kind(
                worker=self.worker_id,
                time=time.time(),
                clock=self.stopwatch.totals(),
                usage=self.meter.read_if_due(),
                **fields,
            )
        )
