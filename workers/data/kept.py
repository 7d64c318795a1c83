"""The blocks that a reader keeps: those that were used last, as many as there is room for."""

from __future__ import annotations

from collections import OrderedDict

from workers.data.flights import Flight

#: Mapped blocks take no memory that could not be had back, but each takes an entry in the kernel's tables.
MAPPED_BLOCKS = 16384


class KeptBlocks:
    """Blocks by number, the least recently used one first to go. Not thread-safe.

    Args:
        own_bytes: stored bytes of those that are in this process's own memory, and
        mapped_bytes: of those that are mapped.
    """

    def __init__(self, own_bytes: int, mapped_bytes: int) -> None:
        self._room = (own_bytes, mapped_bytes)
        self._flights: OrderedDict[int, Flight] = OrderedDict()
        self._bytes = [0, 0]
        self._mapped: set[int] = set()

    def get(self, block: int) -> Flight | None:
        """A block that can still be used, there or on its way."""
        found = self._flights.get(block)
        if found is None or found.failed or found.lost:
            return None
        self._flights.move_to_end(block)
        return found

    def put(self, flight: Flight) -> None:
        """Keep one that is on its way, and takes its room already, instead of what there is of the block."""
        self._remove(flight.block)
        self._flights[flight.block] = flight
        self._bytes[False] += flight.size_bytes
        self._make_room()

    def arrived(self, flight: Flight) -> None:
        """It is known now whether it is mapped."""
        if flight.mapped and self._flights.get(flight.block) is flight and flight.block not in self._mapped:
            self._mapped.add(flight.block)
            self._bytes[False] -= flight.size_bytes
            self._bytes[True] += flight.size_bytes
            self._make_room()

    def clear(self) -> None:
        """Keep nothing."""
        self._flights.clear()
        self._mapped.clear()
        self._bytes = [0, 0]

    def _make_room(self) -> None:
        while len(self._flights) > 1 and (
            self._bytes[False] > self._room[False]
            or self._bytes[True] > self._room[True]
            or len(self._mapped) > MAPPED_BLOCKS
        ):
            self._remove(next(iter(self._flights)))

    def _remove(self, block: int) -> None:
        flight = self._flights.pop(block, None)
        if flight is not None:
            self._bytes[block in self._mapped] -= flight.size_bytes
            self._mapped.discard(block)
