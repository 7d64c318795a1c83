"""A feed gives the batches of its virtual ranks from any step on, fails loudly and stops at once."""

import threading
import time
import traceback
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.datasets import number_set
from tests.support.stores import FaultyStore
from workers import Recipe
from workers.data.dataset import Dataset
from workers.data.decoder import Decoder
from workers.data.feed import Feed
from workers.data.order import OrderSettings
from workers.data.reader import BlockReader
from workers.data.samples import EpochSamples
from workers.data.schedule import Schedule
from workers.errors import DataError

ROWS = 97
VRANKS = 5
SCHEDULE = Schedule(rows=ROWS, vranks=VRANKS, micro_batch=4)
STEPS = 2 * SCHEDULE.steps_per_epoch


class Plain(Recipe):
    """A batch is a list of (number, what was drawn for it)."""

    def decode(self, sample: dict[str, Any], rng: np.random.Generator) -> Any:
        return sample["number"], rng.random()

    def collate(self, samples: list[Any]) -> Any:
        return samples


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return number_set(tmp_path_factory.mktemp("set"), ROWS)


def feed(
    dataset: Dataset,
    recipe: Recipe,
    vranks: list[int],
    start: int,
    stop: int,
    *,
    depth: int = 3,
    window: int | None = None,
) -> Feed:
    return Feed(
        BlockReader(dataset),
        EpochSamples(dataset.manifest.block_rows, OrderSettings(seed=4, window_blocks=window), VRANKS),
        SCHEDULE,
        Decoder(recipe, seed=4),
        vranks,
        start_step=start,
        stop_step=stop,
        depth=depth,
    )


def everything(dataset: Dataset, window: int | None) -> dict[tuple[int, int], Any]:
    whole = feed(dataset, Plain(), list(range(VRANKS)), 0, STEPS, window=window)
    taken = {(step, vrank): whole.take(step, vrank) for step in range(STEPS) for vrank in range(VRANKS)}
    whole.close()
    return taken


@pytest.mark.parametrize("window", [None, 2])
def test_every_epoch_feeds_every_sample_once(dataset: Dataset, window: int | None) -> None:
    taken = everything(dataset, window)
    for epoch in range(2):
        steps = range(epoch * SCHEDULE.steps_per_epoch, (epoch + 1) * SCHEDULE.steps_per_epoch)
        batches = [taken[step, vrank] for step in steps for vrank in range(VRANKS)]
        assert all((batch is None) == (count == 0) for batch, count in batches)
        assert sum(count for _, count in batches) == ROWS
        seen = [number for batch, _ in batches for number, _ in batch or []]
        assert sorted(seen) == list(range(ROWS))


@settings(max_examples=25, deadline=None)
@given(
    start=st.integers(0, STEPS),
    hosted=st.sets(st.integers(0, VRANKS - 1), min_size=1).map(sorted),
    depth=st.integers(1, 5),
    window=st.sampled_from([None, 1, 3]),
)
def test_a_feed_from_any_step_for_any_virtual_ranks_gives_the_same_batches(
    dataset: Dataset, start: int, hosted: list[int], depth: int, window: int | None
) -> None:
    taken = everything(dataset, window)
    resumed = feed(dataset, Plain(), hosted, start, STEPS, depth=depth, window=window)
    for step in range(start, STEPS):
        for vrank in hosted:
            assert resumed.take(step, vrank) == taken[step, vrank]
    with pytest.raises(RuntimeError, match="ends before"):
        resumed.take(STEPS, hosted[0])
    resumed.close()


def test_taking_out_of_turn_is_a_bug_and_says_so(dataset: Dataset) -> None:
    it = feed(dataset, Plain(), [0, 1], 0, 2)
    with pytest.raises(RuntimeError, match="before"):
        it.take(0, 1)
    it.close()


def test_the_feed_stays_a_bounded_number_ahead(dataset: Dataset) -> None:
    decoded = threading.Semaphore(0)

    class Counts(Plain):
        calls = 0

        def collate(self, samples: list[Any]) -> Any:
            self.calls += 1
            decoded.release()
            return samples

    recipe = Counts()
    it = feed(dataset, recipe, [0], 0, STEPS, depth=2)
    for _ in range(3):  # two are ready, one waits for room
        assert decoded.acquire(timeout=10)
    assert not decoded.acquire(timeout=0.05)
    it.take(0, 0)
    assert decoded.acquire(timeout=10)
    it.close()
    assert recipe.calls == 4


def test_closing_a_full_feed_is_prompt_and_leaves_no_thread(dataset: Dataset) -> None:
    it = feed(dataset, Plain(), list(range(VRANKS)), 0, 10**9, depth=1)
    it.take(0, 0)
    begin = time.perf_counter()
    it.close()
    assert time.perf_counter() - begin < 5
    assert not [thread for thread in threading.enumerate() if thread.name == "feed"]
    with pytest.raises(RuntimeError, match="ends before"):
        it.take(0, 1)


def test_closing_does_not_wait_for_a_store_that_hangs(dataset: Dataset) -> None:
    asked, answers = threading.Semaphore(0), threading.Event()

    def hangs(number: int, data: memoryview) -> memoryview:
        asked.release()
        answers.wait(30)
        return data

    store = FaultyStore(dataset.store.uri, hangs)
    it = feed(replace(dataset, store=store), Plain(), [0], 0, STEPS)
    assert asked.acquire(timeout=10)
    begin = time.perf_counter()
    it.close()
    assert time.perf_counter() - begin < 10
    assert not [thread for thread in threading.enumerate() if thread.name == "feed"]
    answers.set()


def test_a_recipe_that_raises_does_so_at_its_batch_with_its_own_traceback(dataset: Dataset) -> None:
    class Breaks(Plain):
        calls = 0

        def collate(self, samples: list[Any]) -> Any:
            self.calls += 1
            return 1 // (3 - self.calls)

    it = feed(dataset, Breaks(), [0], 0, STEPS)
    assert it.take(0, 0)[1] == it.take(1, 0)[1] == 4
    for _ in range(2):
        with pytest.raises(ZeroDivisionError) as caught:
            it.take(2, 0)
        assert "1 // (3 - self.calls)" in "".join(traceback.format_exception(caught.value))
    it.close()


def test_damaged_data_stops_the_feed(tmp_path: Path) -> None:
    dataset = number_set(tmp_path, ROWS)
    for shard in tmp_path.glob("*.arrow"):
        shard.write_bytes(shard.read_bytes()[:50])
    it = feed(dataset, Plain(), [0], 0, STEPS)
    with pytest.raises(DataError, match="truncated"):
        it.take(0, 0)
    it.close()
