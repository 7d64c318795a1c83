"""Blocks on their way: a few threads fetch them, and what is late is asked for again."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from threading import Lock

import pyarrow as pa

from workers.data.hedging import Hedging
from workers.mapping import MappedFile

AT_ONCE = 32  # small objects need many: each waits for its own answer
#: A second request may hang like the first one, and so on; each next one is late after twice the time.
_REQUESTS_MAX = 4
#: Requests that were overtaken, but still hang, are no reason to send no others: so many threads for each.
_THREADS = _REQUESTS_MAX
_LOOK_AGAIN_SECONDS = 0.25


class Flight:
    """A block on its way, by one request or by whichever of several is there first.

    Attributes:
        block: its number.
        arrived: its samples, or why there are none.
        failed: it will never arrive; `cancelled` because it was given up before it began.
        mapped: its bytes are those of a file, once it has arrived, and
        file: of one that somebody may change.
    """

    def __init__(self, block: int, size_bytes: int) -> None:
        self.block, self.size_bytes = block, size_bytes
        self.arrived: Future[pa.RecordBatch] = Future()
        self.begun_at: float | None = None  # its latest request
        self.requests = 0
        self.open = 0  # of these, those that can still bring it
        self.asked = self.failed = self.cancelled = self.mapped = False
        self.file: MappedFile | None = None

    @property
    def lost(self) -> bool:
        """Whoever wants it must ask for it anew: it was given up, or its file has changed since."""
        return self.cancelled or (self.file is not None and not self.file.is_current)


class Flights:
    """Sends requests for blocks, for a bounded number of them at a time. Safe to share between threads.

    Args:
        load: gets a block, checked and decoded, and is told whether this is a second request for it; calls
            `asks` before it asks the store.
        at_once: so many at a time.
        clock: seconds that never run backwards.

    Attributes:
        sent, hedged: how many requests the store got, and how many of those were for a block that was late.
    """

    def __init__(
        self,
        load: Callable[[Flight, bool], pa.RecordBatch],
        at_once: int = AT_ONCE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._load, self._at_once, self._clock = load, at_once, clock
        self._lock = Lock()
        self._hedging = Hedging()
        self._pool = ThreadPoolExecutor(_THREADS * at_once, thread_name_prefix="fetch")
        self._queue: deque[Flight] = deque()
        self._in_air, self._closed = 0, False
        self.sent = self.hedged = 0

    def send(self, block: int, size_bytes: int) -> Flight:
        """Ask for a block, as soon as there is room.

        Raises:
            RuntimeError: these were closed.
        """
        flight = Flight(block, size_bytes)
        with self._lock:
            if self._closed:
                raise RuntimeError("nothing is fetched any more: the reader was closed")
            self._queue.append(flight)
            self._begin()
        return flight

    def hurry(self, flight: Flight) -> float:
        """Somebody waits for this one: ask again if it is late.

        Returns:
            seconds until it is worth calling this again.
        """
        with self._lock:
            late_after = self._hedging.late_after(flight.size_bytes)
            if flight.requests >= _REQUESTS_MAX or flight.begun_at is None or late_after is None:
                return _LOOK_AGAIN_SECONDS
            left = flight.begun_at + late_after * (1 << (flight.requests - 1)) - self._clock()
            if left > 0:
                return left
            if not flight.arrived.done() and not self._closed and self._hedging.allow():
                self.hedged += 1
                self._request(flight, second=True)
            return _LOOK_AGAIN_SECONDS

    def asks(self, flight: Flight) -> None:
        """A request goes to the store; a block that is on the disk says nothing of how long that takes."""
        with self._lock:
            flight.asked = True
            self.sent += 1
            self._hedging.begun()

    def cancel(self, flight: Flight) -> None:
        """Nobody waits for this one any more; if its request has not begun, it never will."""
        with self._lock:
            if flight.begun_at is None and not flight.failed:
                flight.failed = flight.cancelled = True
                flight.arrived.set_exception(CancelledError())

    def close(self) -> None:
        """Give up requests that have not begun; does not wait for those that have."""
        with self._lock:
            self._closed = True
            waiting = tuple(self._queue)
        for flight in waiting:
            self.cancel(flight)
        self._pool.shutdown(wait=False)

    def _begin(self) -> None:
        """Send what waits for room, if there is some. Under the lock."""
        while self._queue and self._in_air < self._at_once:
            flight = self._queue.popleft()
            if not flight.failed:
                self._in_air += 1
                self._request(flight, second=False)

    def _request(self, flight: Flight, *, second: bool) -> None:
        flight.begun_at = self._clock()
        flight.requests += 1
        flight.open += 1
        self._pool.submit(self._fetch, flight, second)

    def _fetch(self, flight: Flight, second: bool) -> None:
        """In a thread of the pool."""
        begun = self._clock()
        try:
            records = self._load(flight, second)
        except BaseException as error:  # handed to whoever waits for the block
            with self._lock:
                flight.open -= 1
                if not flight.open and not flight.arrived.done():
                    flight.failed = True
                    flight.arrived.set_exception(error)
                    self._landed()
            return
        with self._lock:
            flight.open -= 1
            if flight.asked:
                self._hedging.took(flight.size_bytes, self._clock() - begun)
            if not flight.arrived.done():
                flight.arrived.set_result(records)
                self._landed()

    def _landed(self) -> None:
        """There is room for another one, even if a request that was overtaken still hangs."""
        self._in_air -= 1
        if not self._closed:
            self._begin()
