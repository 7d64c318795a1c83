"""What a stored object of any format holds, as its indexer finds it."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

from workers.data.blocks import Block


@dataclass(frozen=True, kw_only=True)
class Layout:
    """The columns of an object's samples, and its blocks in order.

    Attributes:
        extra: what else is needed to read the object; see `Manifest.object_extras`.
    """

    schema: pa.Schema
    blocks: list[Block]
    extra: bytes | None = None
