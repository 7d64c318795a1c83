"""Samples on their way from blocks to a decoder."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

#: Samples, one a row: in one piece in memory of their own, or in pieces that are still parts of blocks.
Records: TypeAlias = pa.RecordBatch | pa.Table


def joined(records: Records) -> pa.RecordBatch:
    """Samples in one piece, in fresh and aligned memory."""
    if isinstance(records, pa.RecordBatch):
        return records
    pieces = records.to_batches()
    # A single one would not be copied by putting it together with none.
    return pa.concat_batches(pieces) if len(pieces) > 1 else pieces[0].take(pa.array([0]))


def lies_in(records: pa.RecordBatch, data: pa.Buffer) -> bool:
    """Whether samples are parts of these bytes, but for little beside them."""
    begin, end = data.address, data.address + data.size
    buffers = [buffer for column in records.columns for buffer in column.buffers() if buffer is not None]
    beside: int = sum(it.size for it in buffers if not begin <= it.address < end)
    return beside <= len(data) // 16


def as_samples(records: Records) -> list[dict[str, Any]]:
    """Each sample as a dict of its columns: plain values; numpy arrays for lists of numbers without nulls."""
    names = records.schema.names
    columns = [_cells(column) for column in records.columns]
    return [dict(zip(names, cells, strict=True)) for cells in zip(*columns, strict=True)]


def _cells(column: pa.Array | pa.ChunkedArray) -> list[Any]:
    if not _holds_numbers(column.type) or column.null_count:
        return list(column.to_pylist())
    chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    flat = [chunk.flatten() for chunk in chunks]
    if any(values.null_count for values in flat):
        return list(column.to_pylist())
    return [array for chunk, values in zip(chunks, flat, strict=True) for array in _arrays(chunk, values)]


def _arrays(lists: pa.Array, flat: pa.Array) -> list[Any]:
    values = flat.to_numpy(zero_copy_only=False).copy()  # recipes may write to their samples
    ends = np.cumsum(pc.list_value_length(lists).to_numpy(zero_copy_only=False)).tolist()
    return [values[begin:end] for begin, end in pairwise([0, *ends])]


def _holds_numbers(kind: pa.DataType) -> bool:
    lists = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    if not any(is_kind(kind) for is_kind in lists):
        return False
    return bool(pa.types.is_integer(kind.value_type) or pa.types.is_floating(kind.value_type))
