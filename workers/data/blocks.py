"""Gathers blocks, object by object, into a manifest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from workers.data.manifest import UNSEEN, Format, Manifest


@dataclass(frozen=True, kw_only=True)
class Block:
    """A block as its object is written or indexed."""

    offset: int  # bytes
    length: int  # bytes
    rows: int
    crc32c: int | None = None
    values: Mapping[str, int] = field(default_factory=dict)  # see `Manifest.values`


@dataclass(kw_only=True)
class BlockTable:
    """A manifest in the making: columns that grow."""

    _names: list[str] = field(default_factory=list)
    _etags: list[str | None] = field(default_factory=list)
    _sizes: list[int] = field(default_factory=list)
    _extras: list[bytes | None] = field(default_factory=list)
    _blocks: list[tuple[int, int, int, int, int]] = field(default_factory=list)
    _values: list[Mapping[str, int]] = field(default_factory=list)  # of each block

    def add(
        self, *, name: str, size: int, etag: str | None, blocks: list[Block], extra: bytes | None = None
    ) -> None:
        """Add an object and its blocks. Its entity tag is kept only if a block's checksum is not known.

        Args:
            extra: what else its format needs to read it; the same for all objects or for none.
        """
        number = len(self._names)
        self._names.append(name)
        self._sizes.append(size)
        self._extras.append(extra)
        self._etags.append(etag if any(block.crc32c is None for block in blocks) else None)
        for block in blocks:
            crc32c = UNSEEN if block.crc32c is None else block.crc32c
            self._blocks.append((number, block.offset, block.length, block.rows, crc32c))
            self._values.append(block.values)

    @property
    def rows(self) -> int:
        """Samples so far."""
        return sum(block[3] for block in self._blocks)

    def manifest(self, kind: Format, schema: pa.Schema) -> Manifest:
        """The finished table."""
        columns = np.array(self._blocks, dtype=np.int64).reshape(-1, 5).T.copy()
        objects, offsets, lengths, rows, crc32c = columns
        counted = self._values[0] if self._values else {}
        return Manifest(
            format=kind,
            schema=schema,
            object_names=pa.array(self._names, pa.string()),
            object_etags=pa.array(self._etags, pa.string()),
            object_sizes=np.array(self._sizes, dtype=np.int64),
            objects=objects.astype(np.int32),
            offsets=offsets,
            lengths=lengths,
            block_rows=rows,
            crc32c=crc32c,
            object_extras=pa.array(self._extras, pa.large_binary()) if any(self._extras) else None,
            values={
                name: np.array([values[name] for values in self._values], dtype=np.int64) for name in counted
            },
        )
