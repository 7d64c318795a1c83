"""Batches come from a data set, or from the recipe; the same ones whoever asks, and from any step on."""

from __future__ import annotations

from contextlib import closing

import numpy as np
import pytest

from tests.support.datasets import number_set
from tests.support.events import train_job
from workers.data.decoder import Decoder
from workers.errors import DataError
from workers.protocol import DataSource, LeftOut, TrainJob
from workers.recipe import Recipe
from workers.training.training_data import (
    HeadStart,
    RecipeData,
    open_evaluation_data,
    open_training_data,
)

V, MICRO, ROWS = 4, 3, 41


class Numbers(Recipe):
    def decode(self, sample, rng):
        return sample["number"]

    def collate(self, samples):
        return np.array(samples)


def decoder() -> Decoder:
    return Decoder(Numbers(), seed=0)


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> DataSource:
    folder = tmp_path_factory.mktemp("set")
    dataset = number_set(folder, ROWS)
    return DataSource(uri=folder.as_uri(), manifest_digest=dataset.manifest.digest, rows=ROWS)


def job(train: DataSource | None, **changes: object) -> TrainJob:
    return train_job(train=train, virtual_ranks=V, batch_size=V * MICRO, steps=8, **changes)


def taken(data, vranks, start: int, stop: int) -> dict[tuple[int, int], list[int]]:
    with data.feed(vranks, start) as feed:
        found = {}
        for step in range(start, stop):
            for vrank in vranks:
                batch, count = feed.take(step, vrank)
                found[step, vrank] = [] if batch is None else batch.tolist()
                assert len(found[step, vrank]) == count == data.schedule.at(step).counts[vrank]
        return found


def test_an_epoch_has_every_sample_once_and_resuming_elsewhere_changes_nothing(source):
    data = open_training_data(job(source), decoder())
    steps = data.schedule.steps_per_epoch
    whole = taken(data, range(V), 0, 2 * steps)
    for epoch in (0, 1):
        rows = [n for (step, _), batch in whole.items() for n in batch if step // steps == epoch]
        assert sorted(rows) == list(range(ROWS))
    for vranks in ([0, 3], [1], [2]):
        resumed = taken(open_training_data(job(source), decoder()), vranks, 3, 2 * steps)
        assert resumed == {place: batch for place, batch in whole.items() if place in resumed}


@pytest.mark.parametrize("expected", [0, 3, 4])
def test_a_head_start_feeds_from_the_true_step_whatever_was_expected(source, expected):
    data = open_training_data(job(source), decoder())
    with closing(HeadStart(data, [0, 2], expected)) as begun, data.feed([0, 2], 3) as usual:
        feed = begun.at(3)
        for step in (3, 4):
            for vrank in (0, 2):
                (batch, count), (same, as_many) = feed.take(step, vrank), usual.take(step, vrank)
                assert (batch.tolist(), count) == (same.tolist(), as_many)


def test_a_head_start_that_is_closed_reads_no_more(source):
    begun = HeadStart(open_training_data(job(source), decoder()), [0], 0)
    feed = begun.at(0)
    begun.close()
    with pytest.raises(RuntimeError, match="the feed ends"):
        feed.take(0, 0)


def test_the_warm_up_sees_a_batch_of_the_usual_size(source):
    assert len(open_training_data(job(source), decoder()).first_batch()) == MICRO


def test_a_data_set_that_was_changed_since_is_refused(source):
    other = DataSource(uri=source.uri, manifest_digest="0" * 64, rows=ROWS)
    with pytest.raises(DataError):
        open_training_data(job(other), decoder())


def test_the_held_out_set_is_shared_by_micro_batches(source):
    assert open_evaluation_data(job(None), decoder()) is None
    held_out = open_evaluation_data(job(None, evaluation=source), decoder())
    assert held_out is not None
    shares = [[batch.tolist() for batch in held_out.share(vrank)] for vrank in range(V)]
    batches = [list(range(start, min(start + MICRO, ROWS))) for start in range(0, ROWS, MICRO)]
    assert shares == [batches[vrank::V] for vrank in range(V)]


def test_a_recipe_that_makes_its_own_data_gets_seed_step_and_size():
    data = open_training_data(job(None), decoder())
    assert isinstance(data, RecipeData)
    with data.feed(range(V), 5) as feed:
        batches = {(step, v): feed.take(step, v)[0] for step in (5, 6) for v in range(V)}
    assert all(batch["step"] == step and batch["size"] == MICRO for (step, _), batch in batches.items())
    assert len({batch["seed"] for batch in batches.values()}) == 2 * V
    other = open_training_data(job(None, seed=1), decoder()).first_batch()
    assert other["seed"] != data.first_batch()["seed"]
    assert data.schedule.at(7).counts == (MICRO,) * V


@pytest.mark.parametrize("left_out", [(), (1, 3)])
def test_samples_are_read_one_by_one_as_they_are_in_their_step(source, left_out):
    data = open_training_data(job(source), decoder()).without(
        [LeftOut(block=block, step=1) for block in left_out]
    )
    for (step, vrank), batch in taken(data, range(V), 0, 8).items():
        addresses = data.addresses(step, vrank)
        alone = [data.read(step, addresses.part(i, 1)).tolist() for i in range(len(addresses))]
        assert alone == [[number] for number in batch]
