"""Packing keeps every sample in order, gives the same bytes anywhere, and never shows half a data set."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.datasets import NUMBERS, number_set, numbers, raw_files
from workers.data import index
from workers.data.dataset import Dataset
from workers.data.pack import _open, _Packing, pack
from workers.data.shards import write_shards
from workers.data.verify import verify
from workers.errors import DataError
from workers.storage import Store


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
    with pytest.raises(DataError, match="there are no objects here"):
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


class Killed(Exception):
    """In place of a signal: everything that was not written is lost."""


def test_a_packing_that_was_killed_goes_on_and_gives_the_same_data_set(tmp_path: Path, monkeypatch) -> None:
    source = raw_files(tmp_path / "source", [bytes([n]) * 1000 for n in range(60)])
    whole = pack(source, (tmp_path / "whole").as_uri(), shard_bytes=10_000)
    dest, written, put = (tmp_path / "out").as_uri(), [], Store.put

    def failing(store: Store, name: str, data: bytes) -> None:
        if len(written) == 6:
            raise Killed
        written.append(name)
        put(store, name, data)

    with monkeypatch.context() as patch:
        patch.setattr(Store, "put", failing)
        with pytest.raises(Killed):
            pack(source, dest, shard_bytes=10_000)
    with pytest.raises(DataError, match="no manifest"):
        Dataset.open(dest)
    before = set(written)
    monkeypatch.setattr(
        Store, "put", lambda store, name, data: (written.append(name), put(store, name, data))
    )
    done: list[tuple[int, int]] = []
    again = pack(source, dest, shard_bytes=10_000, progress=lambda *counts: done.append(counts))
    assert again.digest == whole.digest
    noted = {name for name in before if name.endswith(".json")}
    assert noted
    assert not noted & set(written[6:]), "what was there was not written again"
    assert done[-1] == (60, 60)
    assert verify(Dataset.open(dest)).damage == ()
    assert not list((tmp_path / "out" / "_lockstep").glob("packing/**/*.json"))


def test_what_another_packing_left_is_not_taken_for_ones_own(tmp_path: Path) -> None:
    dest = (tmp_path / "out").as_uri()
    one = raw_files(tmp_path / "one", [b"a" * 500] * 20)
    two = raw_files(tmp_path / "two", [b"b" * 500] * 20)
    store = Store(dest)
    for source in (one, two, one):
        packing = _Packing(_open(source, "auto"), store, 4096, 4096)
        packing.forget_others()
        list(map(packing.shard, packing.runs()))
    manifest = pack(one, dest, block_bytes=4096, shard_bytes=4096)
    assert verify(Dataset.open(dest)).damage == ()
    assert [row["data"] for row in stored(tmp_path / "out")] == [b"a" * 500] * 20
    assert manifest.rows == 20


def test_any_data_set_can_be_packed_and_keeps_its_samples(tmp_path: Path) -> None:
    table = pa.table({"n": list(range(100)), "text": [None if n % 3 else "x" * n for n in range(100)]})
    (tmp_path / "in").mkdir()
    pq.write_table(table, tmp_path / "in" / "a.parquet", row_group_size=7)
    manifest = pack((tmp_path / "in").as_uri(), (tmp_path / "out").as_uri(), shard_bytes=300)
    assert stored(tmp_path / "out") == table.to_pylist()
    assert len(manifest.object_names) > 3
    assert pack((tmp_path / "out").as_uri(), (tmp_path / "again").as_uri()).rows == 100
    assert stored(tmp_path / "again") == table.to_pylist()
