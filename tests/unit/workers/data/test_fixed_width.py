"""Rows of one width are what Arrow picks, each part in aligned memory; others are left to Arrow."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workers.data.fixed_width import pick
from workers.data.runs import Runs

KINDS = [
    pa.int64(),
    pa.uint8(),
    pa.float32(),
    pa.float16(),
    pa.list_(pa.uint16(), 3),
    pa.list_(pa.float64(), 1),
    pa.list_(pa.uint16(), 512),
]


def block(rng: np.random.Generator, kinds: list[pa.DataType], rows: int) -> pa.RecordBatch:
    """With a few rows before it that are not its own."""

    def column(kind: pa.DataType) -> pa.Array:
        width = kind.list_size if pa.types.is_fixed_size_list(kind) else 1
        of = kind.value_type if width > 1 or pa.types.is_fixed_size_list(kind) else kind
        values = pa.array(rng.integers(0, 100, (rows + 2) * width).astype(of.to_pandas_dtype()), of)
        return pa.FixedSizeListArray.from_arrays(values, type=kind) if of is not kind else values

    return pa.record_batch(
        [column(kind) for kind in kinds], names=[f"c{n}" for n in range(len(kinds))]
    ).slice(2)


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_it_picks_what_arrow_picks(data: st.DataObject) -> None:
    kinds = data.draw(st.lists(st.sampled_from(KINDS), min_size=1, max_size=3))
    sizes = data.draw(st.lists(st.integers(1, 9), min_size=1, max_size=5))
    rng = np.random.default_rng(data.draw(st.integers(0, 9)))
    blocks = [block(rng, kinds, size) for size in sizes]
    counts = data.draw(st.lists(st.integers(1, 7), min_size=1, max_size=4))
    which = np.array([data.draw(st.integers(0, len(sizes) - 1)) for _ in range(sum(counts))])
    rows = np.array([data.draw(st.integers(0, sizes[number] - 1)) for number in which])
    parts = pick(blocks, Runs(blocks=which, rows=rows), counts)
    assert parts is not None
    assert [part.num_rows for part in parts] == counts
    found = [row for part in parts for row in part.to_pylist()]
    assert found == [blocks[n].slice(row, 1).to_pylist()[0] for n, row in zip(which, rows, strict=True)]
    for part in parts:
        assert part.schema == blocks[0].schema
        for column in part.columns:
            values = column.flatten() if pa.types.is_fixed_size_list(column.type) else column
            assert (values.buffers()[1].address + values.offset * values.type.byte_width) % 64 == 0


@pytest.mark.parametrize(
    "columns",
    [
        {"a": ["text"]},
        {"a": [1], "b": [b"bytes"]},
        {"a": pa.array([None], pa.int64())},
        {"a": pa.array([[1, None]], pa.list_(pa.int64(), 2))},
        {"a": pa.array([None], pa.list_(pa.int64(), 2))},
        {"a": pa.array([[1, 2]], pa.list_(pa.int64()))},
        {"a": [True]},
        {},
    ],
)
def test_other_columns_are_left_to_arrow(columns: dict[str, Any]) -> None:
    blocks = [pa.record_batch(columns)]
    assert pick(blocks, Runs(blocks=np.array([0]), rows=np.array([0])), [1]) is None
