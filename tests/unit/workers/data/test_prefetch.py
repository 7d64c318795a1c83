"""Reading ahead changes nothing about what comes; it begins as early as it has to, and within its budget."""

from __future__ import annotations

from concurrent.futures import Future

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.checkpoints import flip
from tests.support.datasets import number_set
from workers.data.dataset import Dataset
from workers.data.order import locate
from workers.data.prefetch import Prefetcher, Request
from workers.data.reader import BlockReader
from workers.data.runs import Runs
from workers.errors import DamagedBlockError

ROWS = 200


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return number_set(tmp_path_factory.mktemp("set"), ROWS)


def request(dataset: Dataset, micro_batches: list[list[int]]) -> Request:
    samples = np.array([n for batch in micro_batches for n in batch], dtype=np.int64)
    blocks, rows = locate(dataset.manifest.edges, samples)
    return Request(epoch=0, runs=Runs(blocks=blocks, rows=rows), counts=tuple(map(len, micro_batches)))


batches = st.lists(st.lists(st.integers(0, ROWS - 1), max_size=5), min_size=1, max_size=4)


@settings(max_examples=40, deadline=None)
@given(st.lists(batches, max_size=12), st.sampled_from([1, 1000, 1 << 30]))
def test_what_comes_is_what_was_asked_for_in_order(dataset, wanted, budget):
    prefetcher = Prefetcher(BlockReader(dataset), budget_bytes=budget)
    found = [
        [part.column("number").to_pylist() if part is not None else [] for part in parts]
        for _, parts in prefetcher.read(request(dataset, one) for one in wanted)
    ]
    assert found == wanted


class FakeGathering:
    """Samples that are there from the beginning, or never in time."""

    missing_bytes = 100

    def __init__(self, is_there: bool) -> None:
        self.is_there = is_there
        self.cancelled = False

    def wait(self, stopped: Future[None] | None) -> bool:
        return stopped is None or not stopped.done()

    def cancel(self) -> None:
        self.cancelled = True

    def parts(self, counts: list[int]) -> list[pa.RecordBatch]:
        return [pa.record_batch({"number": [0] * count}) for count in counts]


class FakeReader:
    """Counts what was begun."""

    def __init__(self, *, fast: bool) -> None:
        self.fast, self.begun = fast, 0
        self.gatherings: list[FakeGathering] = []

    def begin(self, runs: Runs) -> FakeGathering:
        self.begun += 1
        self.gatherings.append(FakeGathering(self.fast))
        return self.gatherings[-1]


ONE = Request(epoch=0, runs=Runs(blocks=np.array([0]), rows=np.array([3])), counts=(1,))


def test_whoever_had_to_wait_has_twice_as_much_begun_from_then_on():
    reader = FakeReader(fast=False)
    prefetcher = Prefetcher(reader)  # type: ignore[arg-type]
    samples = prefetcher.read([ONE] * 10_000)
    seen = []
    for _ in range(4):
        next(samples)
        seen.append((prefetcher.depth, reader.begun))
    assert seen == [(4, 3), (8, 6), (16, 11), (32, 20)]
    for _ in range(2000):
        next(samples)
    assert prefetcher.depth == 1024


def test_whoever_never_waits_reads_no_further_ahead():
    reader = FakeReader(fast=True)
    prefetcher = Prefetcher(reader)  # type: ignore[arg-type]
    samples = prefetcher.read([ONE] * 100)
    for number in range(50):
        next(samples)
        assert (prefetcher.depth, reader.begun) == (2, number + 3)


@pytest.mark.parametrize(("budget", "ahead"), [(350, 3), (100, 1), (0, 1)])
def test_no_more_is_on_its_way_than_the_budget_allows(budget, ahead):
    reader = FakeReader(fast=False)
    samples = Prefetcher(reader, budget_bytes=budget).read([ONE] * 100)  # type: ignore[arg-type]
    for number in range(30):
        next(samples)
        assert reader.begun - number <= ahead + 1
    assert len(list(samples)) == 70


@pytest.mark.parametrize("fast", [True, False])
def test_whoever_stops_gives_up_all_that_was_begun_ahead(fast):
    reader, stopped = FakeReader(fast=fast), Future[None]()
    samples = Prefetcher(reader, stopped=stopped).read([ONE] * 100)  # type: ignore[arg-type]
    for _ in range(5):
        next(samples)
    assert not any(gathering.cancelled for gathering in reader.gatherings)
    stopped.set_result(None)
    if fast:  # nobody waits: the consumer goes away
        samples.close()
    else:
        assert list(samples) == []
    assert all(gathering.cancelled for gathering in reader.gatherings[5:])
    assert len(reader.gatherings) < 100


def test_what_is_wrong_with_one_micro_batch_is_no_matter_of_those_before_it(tmp_path):
    dataset = number_set(tmp_path, ROWS)
    last = dataset.manifest.block(len(dataset.manifest) - 1)
    flip(tmp_path / last.object, last.offset + last.length - 20)
    [(_, parts)] = Prefetcher(BlockReader(dataset)).read([request(dataset, [[0, 1], [], [5], [ROWS - 1, 2]])])
    found = iter(parts)
    assert [
        part and part.column("number").to_pylist() for part in (next(found), next(found), next(found))
    ] == [
        [0, 1],
        None,
        [5],
    ]
    with pytest.raises(DamagedBlockError):
        next(found)
