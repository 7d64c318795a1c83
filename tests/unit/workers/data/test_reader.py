"""Samples come in the order asked for, from blocks that were fetched once and checked."""

import os
import shutil
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.datasets import number_set, numbers, raw_files
from tests.support.stores import Fault, FaultyStore
from workers.data.cache import NodeCache
from workers.data.dataset import Dataset
from workers.data.index import index
from workers.data.order import locate
from workers.data.reader import BlockReader
from workers.data.records import joined
from workers.data.runs import Runs
from workers.data.shards import write_shards
from workers.errors import DataError, UnreachableError
from workers.storage import local_path

ROWS = 500
MAPPED_ROWS = 900


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return number_set(tmp_path_factory.mktemp("set"), ROWS)


def faulty(dataset: Dataset, fault: Fault | None = None) -> tuple[Dataset, FaultyStore]:
    store = FaultyStore(dataset.store.uri, fault)
    return replace(dataset, store=store), store


def gather(reader: BlockReader, ids: list[int]) -> list[int]:
    blocks, rows = locate(reader.dataset.manifest.edges, np.array(ids, dtype=np.int64))
    return [int(n) for n in reader.gather(blocks, rows)["number"].to_pylist()]


@settings(max_examples=50, deadline=None)
@given(ids=st.lists(st.integers(0, ROWS - 1), min_size=1, max_size=100), cache_bytes=st.integers(0, 10_000))
def test_samples_come_in_the_order_asked_for(dataset: Dataset, ids: list[int], cache_bytes: int) -> None:
    reader = BlockReader(dataset, cache_bytes)
    blocks, rows = locate(dataset.manifest.edges, np.array(ids))
    everything = list(numbers(ROWS))
    assert reader.gather(blocks, rows).to_pylist() == [everything[n] for n in ids]
    reader.close()


@settings(max_examples=30, deadline=None)
@given(
    ids=st.lists(st.integers(0, 39), min_size=1, max_size=20), cuts=st.lists(st.integers(1, 5), max_size=20)
)
def test_large_samples_come_in_parts_of_their_own_too(
    large: Dataset, ids: list[int], cuts: list[int]
) -> None:
    counts = []
    for cut in [*cuts, len(ids)]:
        counts.append(min(cut, len(ids) - sum(counts)))
    counts = [count for count in counts if count]
    blocks, rows = locate(large.manifest.edges, np.array(ids))
    reader = BlockReader(large)
    parts = reader.begin(Runs(blocks=blocks, rows=rows)).parts(counts)
    assert [part.num_rows for part in parts] == counts
    assert [row["payload"] for part in parts for row in part.to_pylist()] == [payload(n) for n in ids]
    for part in map(joined, parts):
        assert isinstance(part, pa.RecordBatch)
        offsets, data = part["payload"].buffers()[1:]
        assert part["payload"].offset == 0
        assert offsets.address % 64 == data.address % 64 == 0
        assert data.size < sum(map(len, part["payload"].to_pylist())) + 64  # and not the block's
    reader.close()


def payload(number: int) -> bytes:
    return b"%03d" % number * (6000 + 100 * number)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    uri = tmp_path_factory.mktemp("large").as_uri()
    write_shards(
        ({"payload": payload(n)} for n in range(40)), pa.schema([("payload", pa.large_binary())]), uri
    )
    return Dataset.open(uri)


def test_each_block_is_fetched_once_while_it_fits_in_memory(dataset: Dataset) -> None:
    counted, store = faulty(dataset)
    reader = BlockReader(counted)
    for _ in range(3):
        assert gather(reader, list(range(ROWS))) == list(range(ROWS))
    assert len(store.reads) == len(dataset.manifest)
    assert set(store.reads.values()) == {1}


def test_memory_is_bounded_and_the_least_recently_used_block_goes_first(dataset: Dataset) -> None:
    counted, store = faulty(dataset)
    first = [int(row) for row in dataset.manifest.first_row]
    room = int(dataset.manifest.lengths[:3].sum())
    reader = BlockReader(counted, room)
    for block in (0, 1, 2, 0, 3, 0, 1):  # 3 pushes 1 out, since 0 was used again
        gather(reader, [first[block]])
    block_reads = [store.reads[spec.object, spec.offset] for spec in map(dataset.manifest.block, range(4))]
    assert block_reads == [1, 2, 1, 1]


def test_a_checksum_that_fails_once_is_fetched_again(dataset: Dataset) -> None:
    def once(number: int, data: memoryview) -> memoryview:
        return memoryview(b"\xff" * len(data)) if number == 1 else data

    counted, store = faulty(dataset, once)
    assert gather(BlockReader(counted), [7]) == [7]
    assert set(store.reads.values()) == {2}


def test_an_answer_that_is_cut_short_a_few_times_is_fetched_again(dataset: Dataset) -> None:
    counted, _ = faulty(dataset, lambda number, data: data[:10] if number <= 3 else data)
    assert gather(BlockReader(counted), [7]) == [7]


def test_a_block_that_failed_is_tried_anew_when_asked_for_again(dataset: Dataset) -> None:
    counted, _ = faulty(dataset, lambda number, data: memoryview(bytes(len(data))) if number <= 4 else data)
    reader = BlockReader(counted)
    with pytest.raises(DataError, match="altered"):
        gather(reader, [7])
    assert gather(reader, [7]) == [7]


def test_a_store_that_sends_less_than_it_has_is_out_of_order_and_not_the_data(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted, _ = faulty(dataset, lambda number, data: data[:10] if number <= 6 else data)
    assert gather(BlockReader(counted), [7]) == [7]
    monkeypatch.setattr("workers.data.fetch._PATIENCE_SECONDS", 0.1)
    counted, _ = faulty(dataset, lambda number, data: data[:10])
    with pytest.raises(UnreachableError, match="answers with 10 of"):
        gather(BlockReader(counted), [7])


@pytest.mark.parametrize("wrong", [False, True])
def test_a_read_that_hangs_is_overtaken_by_a_second_one_that_is_checked_too(tmp_path, wrong) -> None:
    dataset = number_set(tmp_path / "set", 3 * ROWS)
    hangs, victim = threading.Event(), dataset.manifest.block(len(dataset.manifest) // 2)
    place = (victim.object, victim.offset)
    expected = dataset.store.get_range(*place, victim.length)

    def fault(number: int, data: memoryview) -> memoryview:
        if data != expected or number > 2:
            return data
        if number == 1:
            hangs.wait(30)
        return memoryview(bytes(len(data))) if wrong else data

    slow, store = faulty(dataset, fault)
    reader = BlockReader(slow, on_disk=NodeCache(tmp_path / "cache", 1 << 30))
    its_first = int(dataset.manifest.first_row[victim.number])
    for first in dataset.manifest.first_row.tolist():
        if first != its_first:
            gather(reader, [first])
    assert gather(reader, [its_first]) == [its_first]
    assert reader.flights.hedged >= 1
    assert store.reads[place] == (3 if wrong else 2)
    beside = BlockReader(slow, on_disk=NodeCache(tmp_path / "cache", 1 << 30))
    assert gather(beside, [its_first]) == [its_first]
    assert store.reads[place] == (3 if wrong else 2), "it is on the disk"
    hangs.set()
    reader.close()


def test_a_block_that_another_gathering_gave_up_is_asked_for_again(dataset: Dataset) -> None:
    hangs = threading.Event()

    def fault(number: int, data: memoryview) -> memoryview:
        hangs.wait(30)
        return data

    slow, _ = faulty(dataset, fault)
    reader = BlockReader(slow)
    blocks = np.arange(40)
    one, other = (reader.begin(Runs(blocks=blocks, rows=np.zeros(40, dtype=np.int64))) for _ in range(2))
    one.cancel()
    assert [flight.cancelled for flight in other.flights] == [False] * 2 + [True] * 38
    hangs.set()
    first = [int(row) for row in dataset.manifest.first_row[:40]]
    assert other.parts([40])[0]["number"].to_pylist() == first
    reader.close()


@pytest.fixture
def mapped(tmp_path: Path) -> Dataset:
    """Of blocks that are large enough to be mapped, in several files."""
    uri = (tmp_path / "mapped").as_uri()
    rows = ({"payload": payload(n % 40), "number": n} for n in range(MAPPED_ROWS))
    schema = pa.schema([("payload", pa.large_binary()), ("number", pa.int64())])
    write_shards(rows, schema, uri, block_bytes=200_000, shard_bytes=6_000_000)
    dataset = Dataset.open(uri)
    assert np.median(dataset.manifest.lengths) > 128 << 10
    assert len(set(dataset.manifest.objects.tolist())) > 2
    return dataset


def test_local_blocks_take_no_memory_of_their_own_and_stay_however_little_there_is(mapped: Dataset) -> None:
    before = pa.total_allocated_bytes()
    reader = BlockReader(mapped, cache_bytes=mapped.manifest.bytes // 8)
    for _ in range(2):
        for start in range(0, MAPPED_ROWS, 20):
            ids = list(range(start, start + 20))
            assert gather(reader, ids) == ids
    assert reader.flights.sent == len(mapped.manifest)
    assert pa.total_allocated_bytes() - before < mapped.manifest.bytes / 4
    reader.close()


@pytest.mark.parametrize("damage", ["altered", "truncated", "gone", "replaced"])
def test_a_mapped_file_that_changes_is_found_out(mapped: Dataset, damage: str) -> None:
    reader = BlockReader(mapped)
    assert gather(reader, list(range(MAPPED_ROWS))) == list(range(MAPPED_ROWS))
    victim = mapped.manifest.block(len(mapped.manifest) // 2)
    row = int(mapped.manifest.first_row[victim.number])
    path = local_path(mapped.store.uri) / victim.object
    begun = reader.begin(Runs(blocks=np.array([victim.number]), rows=np.array([0])))
    time.sleep(0.02)
    if damage == "altered":
        with path.open("r+b") as file:
            file.seek(victim.offset + victim.length // 2)
            file.write(b"something else")
    elif damage == "truncated":
        os.truncate(path, victim.offset)
    elif damage == "gone":
        path.unlink()
    else:
        shutil.copy(path, path.with_suffix(".new"))
        path.with_suffix(".new").replace(path)
        assert gather(reader, [row]) == [row]
        assert begun.parts([1])[0].num_rows == 1
        return
    for read in (lambda: gather(reader, [row]), lambda: begun.parts([1])):
        with pytest.raises(DataError, match=r"altered|truncated|missing") as caught:
            read()
        assert victim.object in str(caught.value)
    reader.close()


def test_closing_gives_the_memory_back_at_once(large: Dataset) -> None:
    """And not when Python comes to look for cycles: the next reader wants the same."""
    before = pa.total_allocated_bytes()
    reader = BlockReader(large)
    blocks = np.arange(len(large.manifest))
    assert reader.gather(blocks, np.zeros_like(blocks)).num_rows == len(blocks)
    assert pa.total_allocated_bytes() - before > large.manifest.bytes / 2
    reader.close()
    assert pa.total_allocated_bytes() - before < large.manifest.bytes / 10


def damaged(tmp_path: Path, change: str) -> Dataset:
    dataset = number_set(tmp_path, 100, shard_bytes=10**6)
    shard = tmp_path / "shard-00000.arrow"
    data = bytearray(shard.read_bytes())
    block = dataset.manifest.block(3)
    if change == "altered":
        data[block.offset + block.length // 2] ^= 1
    elif change == "cut inside":
        del data[block.offset + 10 :]
    elif change == "cut before":
        del data[block.offset - 10 :]
    shard.write_bytes(data)
    if change == "missing":
        shard.unlink()
    return dataset


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("altered", "altered"),
        ("cut inside", "truncated"),
        ("cut before", "truncated"),
        ("missing", "missing"),
    ],
)
def test_damage_names_object_and_offset(tmp_path: Path, change: str, message: str) -> None:
    dataset = damaged(tmp_path, change)
    with pytest.raises(DataError, match=message) as caught:
        BlockReader(dataset).gather(np.array([3]), np.array([0]))
    assert caught.value.exit_code == 2
    assert caught.value.where == (
        f"{tmp_path.as_uri()}/shard-00000.arrow at byte {dataset.manifest.block(3).offset}"
    )


def test_a_raw_object_that_changed_since_it_was_indexed_is_refused(tmp_path: Path) -> None:
    uri = raw_files(tmp_path, [b"abc", b"", b"def"])
    index(uri)
    reader = BlockReader(Dataset.open(uri), 0)
    records = reader.gather(np.array([2, 1]), np.array([0, 0]))
    assert records.to_pylist() == [{"key": "00002.bin", "data": b"def"}, {"key": "00001.bin", "data": b""}]
    (tmp_path / "00002.bin").write_bytes(b"XYZ")
    with pytest.raises(DataError, match="changed since it was indexed"):
        BlockReader(Dataset.open(uri), 0).gather(np.array([2]), np.array([0]))


def test_a_manifest_that_miscounts_is_refused(tmp_path: Path) -> None:
    dataset = number_set(tmp_path, 100)
    wrong = replace(dataset, manifest=replace(dataset.manifest, block_rows=dataset.manifest.block_rows + 1))
    with pytest.raises(DataError, match="rows instead of"):
        BlockReader(wrong).gather(np.array([0]), np.array([0]))
