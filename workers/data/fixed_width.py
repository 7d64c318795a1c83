"""Picks rows of one width: numbers, and lists of as many numbers each. Every row is copied once.

Arrow's own calls copy three times: out of each block, end to end, and into micro-batches.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import gcd
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from workers.data.permutation import Int64
from workers.data.runs import Runs

_ALIGNMENT_BYTES = 64


def pick(blocks: Sequence[pa.RecordBatch], runs: Runs, counts: Sequence[int]) -> list[pa.RecordBatch] | None:
    """The rows of each part, in memory of their own that begins at a multiple of 64 bytes.

    Args:
        blocks: with the same columns.
        runs: single rows, with these blocks by number.
        counts: rows in each part.

    Returns:
        None if a column is of another kind, or holds nulls.
    """
    schema = blocks[0].schema
    columns = []
    for number in range(len(schema)):
        tables = [rows for rows in (_rows(block.column(number)) for block in blocks) if rows is not None]
        if len(tables) < len(blocks):
            return None
        columns.append(tables)
    if not columns:
        return None
    order = np.argsort(runs.blocks, kind="stable")
    bounds = np.searchsorted(runs.blocks[order], np.arange(len(blocks) + 1)).tolist()
    arrays = [
        _picked(column, field, runs.rows, order, bounds, counts)
        for column, field in zip(columns, schema, strict=True)
    ]
    return [pa.RecordBatch.from_arrays(list(of_part), schema=schema) for of_part in zip(*arrays, strict=True)]


def _picked(
    blocks: Sequence[npt.NDArray[Any]],
    field: pa.Field,
    rows: Int64,
    order: Int64,
    bounds: Sequence[int],
    counts: Sequence[int],
) -> list[pa.Array]:
    """One column of each part. `order` has the samples of block n from `bounds[n]` on."""
    dtype, width = blocks[0].dtype, blocks[0].shape[1]
    unit = _ALIGNMENT_BYTES // gcd(_ALIGNMENT_BYTES, dtype.itemsize * width)  # parts begin at multiples of it
    sizes = np.array(counts, dtype=np.int64)
    starts = np.cumsum(-(-sizes // unit) * unit) - -(-sizes // unit) * unit
    places = np.arange(len(rows)) + np.repeat(starts - (np.cumsum(sizes) - sizes), sizes)
    total = int(starts[-1] + sizes[-1])
    memory = pa.allocate_buffer(total * width * dtype.itemsize)
    picked = np.frombuffer(memory, dtype=dtype).reshape(total, width)
    for block, begin, end in zip(blocks, bounds, bounds[1:], strict=False):
        wanted = order[begin:end]
        picked[places[wanted]] = block[rows[wanted]]
    parts = [
        picked[start : start + count].reshape(-1)
        for start, count in zip(starts.tolist(), counts, strict=True)
    ]
    if pa.types.is_fixed_size_list(field.type):
        return [pa.FixedSizeListArray.from_arrays(pa.array(part), type=field.type) for part in parts]
    return [pa.array(part) for part in parts]


def _rows(column: pa.Array) -> npt.NDArray[Any] | None:
    """A column as a table of numbers, one row a sample, without a copy."""
    flat, width = column, 1
    if pa.types.is_fixed_size_list(column.type) and not column.null_count:
        flat, width = column.flatten(), column.type.list_size
    numbers = pa.types.is_integer(flat.type) or pa.types.is_floating(flat.type)
    if not numbers or flat.null_count or not width:
        return None
    return np.asarray(flat.to_numpy()).reshape(-1, width)
