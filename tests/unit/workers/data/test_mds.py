"""MDS shards as their writer lays them out."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workers.data.dataset import Dataset
from workers.data.formats import mds
from workers.data.index import index
from workers.data.reader import BlockReader
from workers.errors import DataError

COLUMNS = {
    "id": ("int", 8),
    "text": ("str", None),
    "tokens": ("ndarray:uint16:4", 8),
    "image": ("jpeg", None),
}


def encoded(encoding: str, value: Any) -> bytes:
    if encoding == "str":
        return value.encode()
    if encoding == "int":
        return np.int64(value).tobytes()
    if encoding.startswith("ndarray"):
        return np.array(value, dtype=np.uint16).tobytes()
    return value


def shard(samples: list[dict[str, Any]], columns: dict[str, tuple[str, int | None]]) -> bytes:
    stored = []
    for sample in samples:
        values = [encoded(encoding, sample[name]) for name, (encoding, _) in columns.items()]
        varying = [len(v) for v, (_, size) in zip(values, columns.values(), strict=True) if size is None]
        stored.append(np.array(varying, dtype="<u4").tobytes() + b"".join(values))
    config = b'{"a":"configuration"}'
    offsets = np.cumsum([0, *map(len, stored)]) + 4 * (len(stored) + 2) + len(config)
    return b"".join([np.uint32(len(stored)).tobytes(), offsets.astype("<u4").tobytes(), config, *stored])


def write(folder: Path, shards: list[list[dict[str, Any]]], columns=COLUMNS, **changes: Any) -> str:
    entries = []
    for number, samples in enumerate(shards):
        name, data = f"shard.{number:05}.mds", shard(samples, columns)
        (folder / name).write_bytes(data)
        entries.append(
            {
                "column_encodings": [encoding for encoding, _ in columns.values()],
                "column_names": list(columns),
                "column_sizes": [size for _, size in columns.values()],
                "compression": None,
                "format": "mds",
                "hashes": [],
                "raw_data": {"basename": name, "bytes": len(data), "hashes": {}},
                "samples": len(samples),
                "size_limit": 1 << 26,
                "version": 2,
                "zip_data": None,
                **changes,
            }
        )
    (folder / "index.json").write_text(json.dumps({"shards": entries, "version": 2}))
    return folder.as_uri()


def sample(number: int) -> dict[str, Any]:
    return {
        "id": number - 3,
        "text": "é" * (number % 5),
        "tokens": [number, 1, 2, 65535],
        "image": bytes(number * 7),
    }


def everything(uri: str) -> list[dict[str, Any]]:
    dataset = Dataset.open(uri)
    manifest, found = dataset.manifest, []
    for block, rows in enumerate(manifest.block_rows.tolist()):
        found += BlockReader(dataset).gather(np.full(rows, block), np.arange(rows)).to_pylist()
    return found


def test_samples_of_all_shards_come_back(tmp_path):
    shards = [[sample(n) for n in range(5)], [sample(n) for n in range(5, 12)]]
    uri = write(tmp_path, shards)
    manifest = index(uri)
    assert (manifest.format, manifest.rows, len(manifest.object_names)) == ("mds", 12, 2)
    assert everything(uri) == [one for part in shards for one in part]
    assert manifest.schema.field("tokens").metadata[b"mds"] == b"ndarray:uint16:4"


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 300), min_size=1, max_size=30), st.integers(1, 3000))
def test_blocks_are_runs_of_samples_no_larger_than_asked_for(numbers, limit):
    data = shard([sample(n) for n in numbers], COLUMNS)
    described = mds.Shard("x", len(data), len(numbers))
    layout = mds.scan(lambda at, n: data[at : at + n], described, pa.schema([]), where="x", block_bytes=limit)
    blocks = layout.blocks
    assert sum(block.rows for block in blocks) == len(numbers)
    assert all(block.length <= limit or block.rows == 1 for block in blocks)
    assert blocks[-1].offset + blocks[-1].length == len(data)
    assert all(a.offset + a.length == b.offset for a, b in pairwise(blocks))


def test_columns_of_fixed_size_are_read_at_once(tmp_path):
    columns = {"tokens": ("ndarray:uint16:2,2", 8), "raw": ("bytes", 3), "score": ("int", 8)}
    rows = [{"tokens": [n, n, n, 9], "raw": b"abc", "score": n} for n in range(50)]
    uri = write(tmp_path, [rows], columns)
    index(uri)
    assert everything(uri) == rows


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"compression": "zstd"}, "compressed"),
        ({"column_encodings": ["int", "str", "ndarray:uint16:4", "pkl"]}, "the column image is pickled"),
        ({"version": 3}, "mds 3 is not mds 2"),
        ({"samples": 4}, "table of offsets"),
        ({"raw_data": {"basename": "other.mds", "bytes": 1}}, "other.mds"),
    ],
)
def test_what_cannot_be_read_is_refused_when_it_is_indexed(tmp_path, changes, said):
    uri = write(tmp_path, [[sample(n) for n in range(5)]], **changes)
    with pytest.raises(DataError, match=said):
        index(uri)


def test_a_shard_that_was_cut_short_is_refused(tmp_path):
    uri = write(tmp_path, [[sample(n) for n in range(5)]])
    path = tmp_path / "shard.00000.mds"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match=r"shard\.00000\.mds"):
        index(uri)


def test_an_index_of_something_else_is_refused(tmp_path):
    write(tmp_path, [[sample(1)]])
    (tmp_path / "index.json").write_text("[]")
    with pytest.raises(DataError, match="MDS index"):
        index(tmp_path.as_uri())
