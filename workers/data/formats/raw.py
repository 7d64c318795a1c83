"""A plain prefix of objects (images, audio, text): each object is one block of one sample."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from workers.data.manifest import BlockSpec, Manifest

SCHEMA = pa.schema(
    [pa.field("key", pa.string(), nullable=False), pa.field("data", pa.large_binary(), nullable=False)]
)


def decode(manifest: Manifest, block: BlockSpec, data: pa.Buffer) -> pa.RecordBatch:
    """`{"key": the object's name, "data": its bytes}`, without a copy of the bytes."""
    offsets = pa.py_buffer(np.array([0, data.size], dtype=np.int64))
    payload = pa.Array.from_buffers(pa.large_binary(), 1, [None, offsets, data])
    return pa.record_batch([pa.array([block.object]), payload], schema=SCHEMA)
