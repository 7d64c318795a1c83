"""Events in order, kept until they are acknowledged: a supervisor that comes back misses nothing."""

from __future__ import annotations

import threading
from collections import deque

from workers.protocol import Event

Numbered = tuple[int, Event]


class Outbox:
    """A numbered queue with one producer and one reader, who may read again from where it stopped."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._events: deque[Numbered] = deque()
        self._next = 1

    def put(self, event: Event) -> None:
        """Append an event."""
        with self._changed:
            self._events.append((self._next, event))
            self._next += 1
            self._changed.notify_all()

    def read(self, acknowledged: int, timeout: float) -> list[Numbered]:
        """Forget all up to number `acknowledged`; return the rest, after at most `timeout` seconds."""
        with self._changed:
            while self._events and self._events[0][0] <= acknowledged:
                self._events.popleft()
            self._changed.wait_for(lambda: bool(self._events), timeout)
            return list(self._events)
