"""Stores that misbehave on purpose, around a real one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from threading import Lock

from workers.mapping import MappedFile
from workers.storage import Store

Fault = Callable[[int, memoryview], memoryview]  # the how-manieth read of these bytes, and the bytes


class FaultyStore(Store):
    """Counts ranged reads, and lets each pass through `fault` on its way."""

    def __init__(self, uri: str, fault: Fault | None = None) -> None:
        super().__init__(uri)
        self.reads: Counter[tuple[str, int]] = Counter()
        self._fault = fault
        self._lock = Lock()

    def map(self, name: str) -> MappedFile | None:
        """Nothing: all is read in ranges."""
        return None

    def get_range(self, name: str, start: int, length: int, *, etag: str | None = None) -> memoryview:
        data = super().get_range(name, start, length, etag=etag)
        with self._lock:
            self.reads[name, start] += 1
            number = self.reads[name, start]
        return data if self._fault is None else self._fault(number, data)
