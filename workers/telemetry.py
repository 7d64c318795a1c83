"""What a worker measures of itself: where its seconds go, and what it uses."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from workers.protocol import Activity, Usage


class Stopwatch:
    """Puts every second since its creation into exactly one activity; the sum is the elapsed time."""

    def __init__(self, activity: Activity = Activity.STARTUP) -> None:
        self._lock = threading.Lock()
        self._since = self._entered = time.perf_counter()
        self._activity = activity
        self._seconds: dict[Activity, float] = {}

    def enter(self, activity: Activity) -> Activity:
        """From now on, time belongs to `activity`. Returns the one before."""
        with self._lock:
            self._settle()
            before, self._activity = self._activity, activity
            self._entered = self._since
            return before

    def current(self) -> tuple[Activity, float]:
        """The activity of this moment, and the seconds since it was entered."""
        with self._lock:
            return self._activity, time.perf_counter() - self._entered

    def rebook(self, activity: Activity, to: Activity, beyond: float) -> None:
        """Move all seconds of `activity` beyond so many to another one: they turned out to be that."""
        with self._lock:
            self._settle()
            moved = max(0.0, self._seconds.get(activity, 0.0) - beyond)
            self._seconds[activity] = self._seconds.get(activity, 0.0) - moved
            self._seconds[to] = self._seconds.get(to, 0.0) + moved

    @contextmanager
    def within(self, activity: Activity) -> Iterator[None]:
        """Time inside the block belongs to `activity`, then to what it was before."""
        before = self.enter(activity)
        try:
            yield
        finally:
            self.enter(before)

    def totals(self) -> dict[Activity, float]:
        """Seconds by activity until now."""
        with self._lock:
            self._settle()
            return dict(self._seconds)

    def _settle(self) -> None:
        now = time.perf_counter()
        self._seconds[self._activity] = self._seconds.get(self._activity, 0.0) + now - self._since
        self._since = now


class Meter:
    """Reads this process's use of CPU, memory and GPU, at most once per `every` seconds."""

    def __init__(self, every: float = 1.0) -> None:
        import psutil

        self._process = psutil.Process()
        self._gpu: object | None = None
        self._every, self._due = every, 0.0

    def watch_gpu(self, uuid: str) -> None:
        """From now on read this GPU too. By its UUID: its number depends on what the process may see."""
        self._gpu = _gpu_handle(uuid)

    def read_if_due(self) -> Usage | None:
        """A reading, or None when the last one is recent enough."""
        now = time.monotonic()
        if now < self._due:
            return None
        self._due = now + self._every
        utilisation, memory = _gpu_usage(self._gpu)
        return Usage(
            cpu_seconds=time.process_time(),
            memory_bytes=self._process.memory_info().rss,
            gpu_utilisation=utilisation,
            gpu_memory_bytes=memory,
        )


def _gpu_handle(uuid: str) -> object | None:
    try:
        import pynvml
    except ModuleNotFoundError:  # the `gpu` extra; without it the numbers are absent, not wrong
        return None
    pynvml.nvmlInit()
    return pynvml.nvmlDeviceGetHandleByUUID(uuid)  # type: ignore[no-any-return]


def _gpu_usage(handle: object | None) -> tuple[float | None, int | None]:
    if handle is None:
        return None, None
    import pynvml

    rates = pynvml.nvmlDeviceGetUtilizationRates(handle)
    return rates.gpu / 100, pynvml.nvmlDeviceGetMemoryInfo(handle).used
