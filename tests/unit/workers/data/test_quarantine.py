"""What is left out is exactly the damaged blocks; every other sample stays where it was."""

from __future__ import annotations

import pickle
from contextlib import closing

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.datasets import number_set
from workers import Recipe
from workers.data.dataset import Dataset
from workers.data.decoder import Decoder
from workers.data.feed import Feed
from workers.data.order import OrderSettings
from workers.data.quarantine import Quarantine, RemainingSteps
from workers.data.reader import BlockReader
from workers.data.samples import EpochSamples
from workers.data.schedule import Schedule
from workers.errors import DamagedBlockError
from workers.protocol import LeftOut

ROWS, VRANKS = 97, 4
SCHEDULE = Schedule(rows=ROWS, vranks=VRANKS, micro_batch=5)
STEPS = 2 * SCHEDULE.steps_per_epoch


class Numbers(Recipe):
    """A batch is the numbers of its samples."""

    def collate(self, samples):
        return [sample["number"] for sample in samples]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return number_set(tmp_path_factory.mktemp("set"), ROWS)


def taken(dataset: Dataset, vranks: list[int], left_out: list[LeftOut], window: int | None) -> dict:
    """(step, virtual rank) → the numbers that it gets, and how many it is said to get."""
    order = OrderSettings(seed=4, window_blocks=window)
    samples = EpochSamples(dataset.manifest.block_rows, order, VRANKS)
    steps = RemainingSteps(steps=SCHEDULE, samples=samples, quarantine=Quarantine(left_out))
    reader, decoder = BlockReader(dataset), Decoder(Numbers(), seed=4)
    quarantine = Quarantine(left_out)
    feed = Feed(
        reader, samples, SCHEDULE, decoder, vranks, start_step=0, stop_step=STEPS, quarantine=quarantine
    )
    with closing(feed):
        found = {}
        for step in range(STEPS):
            for vrank in vranks:
                batch, count = feed.take(step, vrank)
                assert count == steps.at(step).counts[vrank] == len(batch or ())
                found[step, vrank] = batch or []
        return found


@settings(max_examples=20, deadline=None)
@given(data=st.data(), window=st.sampled_from([None, 2]))
def test_all_others_are_read_where_they_were(dataset, data, window):
    blocks = len(dataset.manifest)
    entries = st.builds(LeftOut, st.integers(0, blocks - 1), st.integers(1, STEPS + 1))
    left_out = data.draw(st.lists(entries, unique_by=lambda entry: entry.block, max_size=blocks))
    vranks = data.draw(st.sampled_from([[0, 1, 2, 3], [1, 3]]))
    whole = taken(dataset, vranks, [], window)
    gone_from: dict[int, int] = {}
    for block, step in left_out:
        first = int(dataset.manifest.first_row[block])
        gone_from |= dict.fromkeys(range(first, first + int(dataset.manifest.block_rows[block])), step)
    found = taken(dataset, vranks, left_out, window)
    assert found == {
        (step, vrank): [n for n in numbers if step + 1 < gone_from.get(n, STEPS + 1)]
        for (step, vrank), numbers in whole.items()
    }


def test_positions_are_counted_as_if_nothing_was_left_out(dataset):
    samples = EpochSamples(dataset.manifest.block_rows, OrderSettings(seed=4, window_blocks=None), VRANKS)
    steps = RemainingSteps(
        steps=SCHEDULE, samples=samples, quarantine=Quarantine([LeftOut(0, 1), LeftOut(1, 5)])
    )
    assert (steps.vranks, steps.micro_batch) == (SCHEDULE.vranks, SCHEDULE.micro_batch)
    for step in range(STEPS):
        assert steps.samples_before(step) == SCHEDULE.samples_before(step)
        assert steps.epoch(step) == SCHEDULE.epoch(step)
        assert steps.steps_together(step) == SCHEDULE.steps_together(step)
    assert steps.steps_of(3) == SCHEDULE.steps_of(3)


def test_a_damaged_block_is_named_by_its_number_among_all(dataset, tmp_path):
    copy = number_set(tmp_path, ROWS)
    block = copy.manifest.block(2)
    path = tmp_path / block.object
    content = bytearray(path.read_bytes())
    content[block.offset + block.length // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(DamagedBlockError) as caught:
        BlockReader(copy, first_block=100).gather(np.array([2]), np.array([0]))
    assert caught.value.block == 102
    again = pickle.loads(pickle.dumps(caught.value))
    assert (again.block, str(again)) == (102, str(caught.value))
