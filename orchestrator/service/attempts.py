"""Attempts on a Ray cluster, as their server has them: what all threads of the executor share."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from orchestrator.gang.events import Resize, Stop
from orchestrator.service.executor import Heard, Missing, NotStarted, Order, Over, Report, Seen
from orchestrator.service.telling import stop_seconds

#: A job's id, and which attempt.
Key = tuple[str, int]


@dataclass(eq=False)
class Attempt:
    """One of them.

    Attributes:
        order: as it should be.
        busy: a thread sees to it.
        handle: of its supervisor, once that is known.
        incarnation: of its supervisor, as heard last.
        told, told_at: the number of the last order that it was sent, and when (monotonic).
        stopped: it was told to stop.
        trains: as heard last.
        over: nothing more will be heard of it.
    """

    order: Order
    busy: bool = False
    handle: Any = None
    incarnation: str = ""
    heard: Heard = field(default_factory=Heard)
    told: int = -1
    told_at: float = 0.0
    stopped: bool = False
    trains: bool = False
    over: bool = False

    def tell(self, order: Order) -> None:
        """Send its supervisor what of an order it has not been told."""
        if order.stop:
            if not self.stopped:
                self.handle.wish.remote(Stop(seconds=stop_seconds(order)))
                self.stopped = True
        elif order.number > self.told and order.places:
            workers = sum(order.places.values())
            self.handle.wish.remote(Resize(workers=workers, places=dict(order.places), number=order.number))
            self.was_told(order)

    def was_told(self, order: Order) -> None:
        """Its supervisor gets to know an order now."""
        self.told, self.told_at = order.number, time.monotonic()


class Attempts:
    """Those that there are orders about, and what is to be reported. From any thread.

    Attributes:
        wake: called when there is a report that should not wait.
    """

    def __init__(self) -> None:
        self.wake: Callable[[], None] = lambda: None
        self._lock = threading.Lock()
        self._known: dict[Key, Attempt] = {}
        self._ending: set[Key] = set()
        self._there: set[Key] | None = None
        self._reports: list[Report] = []

    def get(self, key: Key) -> Attempt | None:
        """The one that there are orders about."""
        with self._lock:
            return self._known.get(key)

    def order(self, order: Order) -> Attempt | None:
        """There is an order; the attempt, if no thread sees to it as yet, and the caller must."""
        with self._lock:
            attempt = self._known.setdefault((order.job, order.attempt), Attempt(order, heard=order.heard))
            attempt.order = order
            idle, attempt.busy = not attempt.busy, True
        return attempt if idle else None

    def is_done(self, attempt: Attempt, order: Order) -> bool:
        """Whether what was seen to is the latest order, so that the thread that sees to them may end."""
        with self._lock:
            if attempt.order is not order:
                return False
            attempt.busy = False
            return True

    def begin_end(self, key: Key) -> tuple[bool, Attempt | None]:
        """Whether the caller must end it, since nobody does so as yet; and what was known of it."""
        with self._lock:
            if key in self._ending:
                return False, None
            self._ending.add(key)
            return True, self._known.pop(key, None)

    def ended(self, key: Key) -> None:
        """Nothing of it is there, or it is seen again and ended once more."""
        with self._lock:
            self._ending.discard(key)
            if self._there is not None:
                self._there.discard(key)

    def lose(self, attempt: Attempt, report: Missing | NotStarted) -> None:
        """There is nothing of an attempt."""
        with self._lock:
            self._known.pop((report.job, report.attempt), None)
            attempt.over = True
            self._reports.append(report)
        self.wake()

    def hear(self, attempt: Attempt, report: Seen | Over) -> None:
        """Its supervisor has told something."""
        with self._lock:
            self._reports.append(report)
            attempt.heard, attempt.over = report.heard, isinstance(report, Over)
        if isinstance(report, Over):
            self.wake()
        elif report.running != attempt.trains:
            attempt.trains = report.running
            self.wake()

    def see(self, there: set[Key]) -> None:
        """These have supervisors on the cluster."""
        with self._lock:
            self._there = there - self._ending

    def present(self) -> set[Key] | None:
        """See `Executor.present`."""
        with self._lock:
            return None if self._there is None else (self._there | self._known.keys()) - self._ending

    def reports(self) -> list[Report]:
        """Those since the last call."""
        with self._lock:
            reports, self._reports = self._reports, []
        return reports
