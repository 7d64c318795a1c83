"""Events in order, kept until they are acknowledged and a while longer.

So a supervisor that comes back, or a new one in its place, misses nothing.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from itertools import islice

from workers.protocol import Broken, Event, StepDone

Numbered = tuple[int, Event]

#: Acknowledged events that are kept all the same, for a supervisor that begins anew.
KEPT = 1000
#: These reports may wait so long for the next ones. Those of steps, since a reader then has fewer answers to
#: handle; and that a generation is broken: nobody acts on it at once, and the engine has no time to lose.
LINGER_SECONDS = 0.1
PATIENT = (StepDone, Broken)


class Outbox:
    """A numbered queue with one producer and one reader, who may read again from where it stopped."""

    def __init__(self, kept: int = KEPT, linger: float = LINGER_SECONDS) -> None:
        self._changed = threading.Condition()
        self._events: deque[Numbered] = deque()
        self._newest: dict[type, Numbered] = {}
        self._last = self._urgent = 0  # numbers of the last event, and of the last one that cannot wait
        self._kept, self._linger = kept, linger
        self._lingers = False  # the reader only waits for what is urgent

    def put(self, event: Event) -> None:
        """Append an event."""
        with self._changed:
            self._last += 1
            self._events.append((self._last, event))
            self._newest[type(event)] = (self._last, event)
            if not isinstance(event, PATIENT):
                self._urgent = self._last
            if not self._lingers or self._urgent == self._last:
                self._changed.notify_all()

    def read(self, acknowledged: int, timeout: float) -> list[Numbered]:
        """All events after number `acknowledged`; waits for the first for at most `timeout` seconds."""
        with self._changed:
            while len(self._events) > self._kept and self._events[0][0] <= acknowledged:
                self._events.popleft()
            deadline = time.monotonic() + timeout
            if self._changed.wait_for(lambda: self._last > acknowledged, timeout):
                linger = min(self._linger, deadline - time.monotonic())
                self._lingers = True
                self._changed.wait_for(lambda: self._urgent > acknowledged, linger)
                self._lingers = False
            first = self._last - len(self._events) + 1
            return list(islice(self._events, max(0, acknowledged - first + 1), None))

    def remembered(self) -> list[Numbered]:
        """What there still is, and the newest event of each kind even if it is older; in order."""
        with self._changed:
            return sorted({**dict(self._newest.values()), **dict(self._events)}.items())
