"""Packing keeps every sample in order, gives the same bytes anywhere, and never shows half a data set."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.datasets import NUMBERS, number_set, numbers, raw_files
from workers.data import index
from workers.data.dataset import Dataset
from workers.data.pack import pack, write_shards
from workers.errors import DataError


def stored(folder: Path) -> list[dict[str, Any]]:
    """What pyarrow alone reads from the shards."""
    shards = sorted(folder.glob("*.arrow"))
    return [row for shard in shards for row in pa.ipc.open_file(shard).read_all().to_pylist()]


@settings(max_examples=15, deadline=None)
@given(rows=st.integers(1, 300), block_bytes=st.integers(1, 500), shard_bytes=st.integers(1, 3000))
def test_every_sample_is_stored_once_and_in_order(
    tmp_path_factory: pytest.TempPathFactory, rows: int, block_bytes: int, shard_bytes: int
) -> None:
    folder = tmp_path_factory.mktemp("set")
    dataset = number_set(folder, rows, block_bytes=block_bytes, shard_bytes=shard_bytes)
    assert stored(folder) == list(numbers(rows))
    assert dataset.rows == rows


def test_indexing_a_packed_set_finds_the_very_same_blocks(tmp_path: Path) -> None:
    packed = number_set(tmp_path, 500).manifest
    assert len(packed.object_names) > 2
    assert len(packed) > 20
    assert index.index(tmp_path.as_uri(), checksums=True).to_bytes() == packed.to_bytes()


def test_the_same_files_give_the_same_data_set_anywhere(tmp_path: Path) -> None:
    source = raw_files(tmp_path / "source", [b"x" * n for n in range(100)])
    first = pack(source, (tmp_path / "a").as_uri())
    second = pack(source, (tmp_path / "b").as_uri())
    assert first.digest == second.digest
    assert stored(tmp_path / "a") == [{"key": f"{n:05d}.bin", "data": b"x" * n} for n in range(100)]


def test_small_sets_get_small_blocks_and_large_ones_blocks_of_the_wanted_size(tmp_path: Path) -> None:
    def blocks(total_kib: int) -> int:
        records = ({"number": n, "payload": bytes(1016)} for n in range(total_kib))
        uri = (tmp_path / str(total_kib)).as_uri()
        return len(write_shards(records, NUMBERS, uri, block_bytes=256 << 10, shard_bytes=16 << 20))

    assert blocks(10) == 1
    assert blocks(640) == 10  # of 64 KiB
    assert 32 <= blocks(4096) <= 34
    assert blocks(16 << 10) == 64  # of 256 KiB


def test_nothing_looks_like_a_data_set_when_packing_breaks_off(tmp_path: Path) -> None:
    def broken() -> Iterator[dict[str, Any]]:
        yield from numbers(100)
        raise ZeroDivisionError

    number_set(tmp_path, 10)
    with pytest.raises(ZeroDivisionError):
        write_shards(broken(), NUMBERS, tmp_path.as_uri(), shard_bytes=200, overwrite=True)
    assert list(tmp_path.glob("*.arrow"))
    with pytest.raises(DataError, match="no manifest"):
        Dataset.open(tmp_path.as_uri())


def test_a_data_set_is_overwritten_only_when_asked(tmp_path: Path) -> None:
    number_set(tmp_path, 10)
    with pytest.raises(DataError, match="there is a data set already"):
        number_set(tmp_path, 20)
    write_shards(numbers(20), NUMBERS, tmp_path.as_uri(), overwrite=True)
    assert Dataset.open(tmp_path.as_uri()).rows == 20


def test_bad_sources_are_refused_with_a_reason(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nothing here to pack"):
        pack((tmp_path / "missing").as_uri(), (tmp_path / "out").as_uri())
    with pytest.raises(DataError, match="no samples to pack"):
        write_shards([], NUMBERS, tmp_path.as_uri())
    with pytest.raises(DataError, match="does not fit the columns"):
        write_shards([{"number": "seven"}], NUMBERS, tmp_path.as_uri())
    with pytest.raises(DataError, match="inside its own source"):
        pack(raw_files(tmp_path / "in", [b"x"]), (tmp_path / "in" / "out").as_uri())
    words = pa.schema([("word", pa.dictionary(pa.int32(), pa.string()))])
    with pytest.raises(DataError, match="dictionary-encoded"):
        write_shards([{"word": "a"}], words, tmp_path.as_uri())
