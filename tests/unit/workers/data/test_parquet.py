"""Parquet files are read row group by row group, from nothing but the row group's bytes and the manifest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workers.data.dataset import Dataset
from workers.data.formats import parquet
from workers.data.index import index
from workers.data.reader import BlockReader
from workers.data.verify import verify
from workers.errors import DataError

TYPES = pa.schema(
    [
        pa.field("n", pa.int64()),
        pa.field("text", pa.string()),
        pa.field("tokens", pa.list_(pa.int32())),
        pa.field("box", pa.struct([pa.field("x", pa.float32()), pa.field("y", pa.float32())])),
        pa.field("kind", pa.dictionary(pa.int32(), pa.string())),
        pa.field("blob", pa.binary()),
    ]
)


def row(number: int) -> dict[str, Any]:
    return {
        "n": number,
        "text": None if number % 7 == 0 else "é" * (number % 11),
        "tokens": list(range(number % 4)),
        "box": {"x": number / 2, "y": -1.0},
        "kind": "abc"[number % 3],
        "blob": bytes(number % 300),
    }


def write(path: Path, numbers: range, **options: Any) -> None:
    pq.write_table(pa.Table.from_pylist([row(n) for n in numbers], schema=TYPES), path, **options)


def everything(uri: str) -> list[dict[str, Any]]:
    dataset = Dataset.open(uri)
    reader, found = BlockReader(dataset), []
    for block, rows in enumerate(dataset.manifest.block_rows.tolist()):
        found += reader.gather(np.full(rows, block), np.arange(rows)).to_pylist()
    return found


@pytest.mark.parametrize("compression", ["none", "snappy", "zstd"])
@pytest.mark.parametrize("version", ["1.0", "2.0"])
def test_all_rows_of_all_files_come_back(tmp_path, compression, version):
    write(
        tmp_path / "a.parquet",
        range(95),
        row_group_size=10,
        compression=compression,
        data_page_version=version,
    )
    write(tmp_path / "b.parquet", range(95, 99), compression=compression)
    manifest = index(tmp_path.as_uri())
    assert (manifest.format, manifest.rows, len(manifest)) == ("parquet", 99, 11)
    assert manifest.schema.field("kind").type == pa.string()
    assert everything(tmp_path.as_uri()) == [row(n) for n in range(99)]


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 60), st.integers(1, 20))
def test_an_index_reads_the_footer_alone(rows, group):
    sink, table = pa.BufferOutputStream(), pa.table({"x": [bytes([n]) * 5000 for n in range(rows)]})
    pq.write_table(table, sink, row_group_size=group, compression="none", use_dictionary=False)
    data, reads = sink.getvalue().to_pybytes(), []

    def read(at: int, length: int) -> bytes:
        reads.append(at)
        return data[at : at + length]

    layout = parquet.scan(read, len(data), where="x")
    assert [block.rows for block in layout.blocks] == [min(group, rows - n) for n in range(0, rows, group)]
    assert min(reads) > len(data) - 70_000


def test_checksums_pin_what_is_read_and_the_footer_is_part_of_the_identity(tmp_path):
    write(tmp_path / "a.parquet", range(20), row_group_size=5)
    manifest = index(tmp_path.as_uri(), checksums=True)
    assert verify(Dataset.open(tmp_path.as_uri())).by_checksum == 4
    assert manifest.extra(0)[-4:] == b"PAR1"
    write(tmp_path / "a.parquet", range(20), row_group_size=4)
    assert index(tmp_path.as_uri(), checksums=True).digest != manifest.digest


@pytest.mark.parametrize(
    "damage", [lambda d: d[:-1], lambda d: b"x" * len(d), lambda d: d[: len(d) // 2], lambda d: b""]
)
def test_what_is_not_a_whole_file_is_refused_by_name(tmp_path, damage):
    write(tmp_path / "a.parquet", range(20))
    path = tmp_path / "a.parquet"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError, match=r"a\.parquet: cannot read this as a Parquet file"):
        index(tmp_path.as_uri())


def test_files_with_unlike_columns_and_files_without_rows_are_refused(tmp_path):
    write(tmp_path / "a.parquet", range(0))
    with pytest.raises(DataError, match="hold no samples"):
        index(tmp_path.as_uri())
    pq.write_table(pa.table({"other": [1]}), tmp_path / "b.parquet")
    with pytest.raises(DataError, match=r"b\.parquet: its columns differ"):
        index(tmp_path.as_uri())
