"""Just enough of the flatbuffers encoding to read the tables of an Arrow footer.

pyarrow reads footers but does not say where the record batches are.
Source: https://flatbuffers.dev/internals/ (tables, vtables, vectors).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass


@dataclass(frozen=True)
class Table:
    """A table at position `at` of `data`. Fields are numbered in the order of their declaration."""

    data: bytes
    at: int

    @classmethod
    def root(cls, data: bytes) -> Table:
        """The table that a buffer begins with."""
        return cls(data, _unpack("<I", data, 0))

    def int64(self, field: int) -> int:
        """A 64-bit integer; 0 where it is left out."""
        position = self._position(field)
        return _unpack("<q", self.data, position) if position else 0

    def table(self, field: int) -> Table:
        """A table that is there for certain."""
        position = self._position(field)
        if not position:
            raise ValueError(f"field {field} is missing")
        return Table(self.data, position + _unpack("<I", self.data, position))

    def structs(self, field: int, layout: str) -> list[tuple[int, ...]]:
        """A vector of structs, each unpacked with the `struct` module's `layout`; empty where left out."""
        position = self._position(field)
        if not position:
            return []
        vector = position + _unpack("<I", self.data, position)
        count = _unpack("<I", self.data, vector)
        size = struct.calcsize(layout)
        if vector + 4 + count * size > len(self.data):
            raise ValueError("a vector reaches beyond the end")
        return list(struct.iter_unpack(layout, self.data[vector + 4 : vector + 4 + count * size]))

    def _position(self, field: int) -> int:
        """Where a field is; 0 where it is left out."""
        vtable = self.at - _unpack("<i", self.data, self.at)
        entry = 4 + 2 * field
        if entry >= _unpack("<H", self.data, vtable):
            return 0
        offset = _unpack("<H", self.data, vtable + entry)
        return self.at + offset if offset else 0


def _unpack(layout: str, data: bytes, at: int) -> int:
    if not 0 <= at <= len(data) - struct.calcsize(layout):
        raise ValueError("a table reaches beyond the end")
    number: int = struct.unpack_from(layout, data, at)[0]
    return number
