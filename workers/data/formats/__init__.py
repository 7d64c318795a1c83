"""Formats: how the bytes of a block become records, and how a stored object is cut into blocks.

Each module has `decode(block, data) -> pa.RecordBatch` for reading and what its kind of object needs for
indexing. Everything else of the data plane knows only the block table.
"""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa

from workers.data.formats import arrow, mds, parquet, raw, tar
from workers.data.manifest import BlockSpec, Format, Manifest

Decode = Callable[[Manifest, BlockSpec, pa.Buffer], pa.RecordBatch]

DECODERS: dict[Format, Decode] = {
    "arrow": arrow.decode,
    "raw": raw.decode,
    "tar": tar.decode,
    "mds": mds.decode,
    "parquet": parquet.decode,
}
