"""Training on a mixture: each source exactly once a pass, from any step on, the same bits on any workers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch import Tensor, nn

from tests.support.datasets import number_set, raw_files
from tests.support.events import train_job
from tests.support.groups import connected, in_threads
from tests.support.local_run import LocalRun
from workers import Recipe
from workers.data.dataset import Dataset
from workers.data.decoder import Decoder
from workers.data.index import index
from workers.data.shards import write_shards
from workers.errors import DataError
from workers.numerics.exchange import Exchange
from workers.numerics.tree import dyadic_assignment
from workers.protocol import DataMixture, DataSource, TrainJob
from workers.training.training_data import HeadStart, TrainingData, open_training_data

V, MICRO, ROWS, STEPS = 4, 3, (41, 7, 100), 30
WEIGHTS = (3, 1, 2)
FIRST = (0, 1000, 2000)  # numbers of each source's samples


class Drawn(Recipe):
    """A batch is a list of (number, what was drawn for it)."""

    def decode(self, sample: dict[str, Any], rng: np.random.Generator) -> Any:
        return sample["number"], rng.random()

    def collate(self, samples: list[Any]) -> Any:
        return samples


def opened(job: TrainJob, recipe: Recipe) -> TrainingData:
    """The job's training data, decoded by this recipe."""
    return open_training_data(job, Decoder(recipe, job.seed))


def pinned(dataset: Dataset, window_blocks: int | None = None) -> DataSource:
    digest = dataset.manifest.digest
    uri = dataset.store.uri
    return DataSource(uri=uri, manifest_digest=digest, rows=dataset.rows, window_blocks=window_blocks)


@pytest.fixture(scope="module")
def mixture(tmp_path_factory: pytest.TempPathFactory) -> DataMixture:
    folders = [tmp_path_factory.mktemp("set") for _ in ROWS]
    sets = [number_set(f, rows, first=n) for f, rows, n in zip(folders, ROWS, FIRST, strict=True)]
    windows = (None, 2, 3)
    sources = tuple(pinned(dataset, window) for dataset, window in zip(sets, windows, strict=True))
    return DataMixture(sources=sources, weights=WEIGHTS, epoch_end="last")


def fields(mixture: DataMixture, **changes: Any) -> dict[str, Any]:
    return {"train": mixture, "virtual_ranks": V, "batch_size": V * MICRO, "steps": STEPS, **changes}


def job(mixture: DataMixture, **changes: Any) -> TrainJob:
    return train_job(**fields(mixture, **changes))


def taken(job: TrainJob, vranks: Sequence[int], start: int, stop: int) -> dict[tuple[int, int], Any]:
    data = opened(job, Drawn())
    with data.feed(vranks, start) as feed:
        return {(step, v): feed.take(step, v) for step in range(start, stop) for v in vranks}


@pytest.mark.parametrize("steps", [1, 10, STEPS])
def test_samples_of_a_source_were_seen_equally_often_or_once_more_and_sources_by_their_weights(
    mixture, steps
):
    batches = taken(job(mixture), range(V), 0, steps)
    assert all(len(batch) == count == MICRO for batch, count in batches.values())
    seen = Counter(number for batch, _ in batches.values() for number, _ in batch)
    for first, rows, weight in zip(FIRST, ROWS, WEIGHTS, strict=True):
        counts = [seen[number] for number in range(first, first + rows)]
        assert max(counts) - min(counts) <= 1
        assert abs(sum(counts) - steps * V * MICRO * weight / sum(WEIGHTS)) < 1


def test_resuming_at_any_step_with_any_virtual_ranks_gives_the_same_batches(mixture):
    whole = taken(job(mixture), range(V), 0, STEPS)
    for start in range(STEPS):
        vranks = [[0, 3], [1], [2, 1, 0]][start % 3]
        resumed = taken(job(mixture), vranks, start, min(start + 4, STEPS))
        assert resumed == {place: whole[place] for place in resumed}


def test_what_a_sample_draws_is_its_own_in_every_pass_and_source(mixture):
    batches = taken(job(mixture), range(V), 0, STEPS)
    draws = [drawn for batch, _ in batches.values() for _, drawn in batch]
    assert len(set(draws)) == len(draws)


def test_a_head_start_and_the_warm_up_work_as_with_one_data_set(mixture):
    data = opened(job(mixture), Drawn())
    assert [number for number, _ in data.first_batch()] == [0, 1, 2]
    begun = HeadStart(data, [1], 0)
    assert begun.at(5).take(5, 1) == taken(job(mixture), [1], 5, 6)[5, 1]
    begun.close()


def test_a_warm_up_batch_is_of_the_usual_size_though_the_first_source_is_small(tmp_path):
    sets = [number_set(tmp_path / f"{rows}", rows, first=rows * 10) for rows in (1, 2, 9)]
    mixture = DataMixture(sources=tuple(map(pinned, sets)), weights=(1, 1, 1), epoch_end="last")
    batch = opened(job(mixture), Drawn()).first_batch()
    assert [number for number, _ in batch] == [10, 20, 21]


class Regression(Recipe):
    """Everything that could tell one worker from three: BatchNorm, AdamW, a random augmentation."""

    def build_model(self) -> nn.Module:
        return nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 1))

    def build_optimizer(self, model: nn.Module) -> torch.optim.Optimizer:
        return torch.optim.AdamW(model.parameters(), lr=0.01)

    def decode(self, sample: dict[str, Any], rng: np.random.Generator) -> Tensor:
        return torch.tensor([sample["number"] / 1000, len(sample["payload"]), rng.random()])

    def loss(self, model: nn.Module, batch: Tensor) -> Tensor:
        return (model(batch) - batch.sum(1, keepdim=True)).square().mean()


def train(run: LocalRun, exchange: Exchange, start: int, stop: int) -> str:
    """One worker's part of steps `start..stop-1`; the digest after them."""
    hosted = dyadic_assignment(V, exchange.world)
    data = opened(run.job, Regression())
    run.schedule = data.schedule
    with data.feed(sorted(hosted[exchange.rank]), start) as feed:
        run.feed = feed  # type: ignore[assignment]
        run.join(exchange, [sorted(vranks) for vranks in hosted])
        while run.replica.step < stop:
            run.runner.run()
    return run.replica.digest()


def trained(mixture: DataMixture, phases: Sequence[tuple[int, int]]) -> str:
    """Train with W workers up to a step, then with others, each time from the first one's state."""
    runs: list[LocalRun] = []
    digest, start = "", 0
    for workers, stop in phases:
        while len(runs) < workers:  # who joins has done the same steps, alone
            run = LocalRun(Regression(), torch.randn(8, 3), **fields(mixture))
            if start:
                train(run, connected(1)[0], 0, start)
            runs.append(run)
        members = list(zip(runs[:workers], connected(workers), strict=True))
        digests = in_threads([partial(train, run, exchange, start, stop) for run, exchange in members])
        assert len(set(digests)) == 1
        runs, digest, start = runs[:workers], digests[0], stop
    return digest


def test_the_bits_are_the_same_on_one_to_four_workers_and_when_they_change_on_the_way(mixture):
    digests = {workers: trained(mixture, [(workers, 12)]) for workers in (1, 2, 3, 4)}
    assert len(set(digests.values())) == 1
    assert trained(mixture, [(3, 4), (1, 7), (4, 12)]) == digests[1]
    other = replace(mixture, weights=(3, 2, 2))
    assert trained(other, [(1, 12)]) != digests[1]


class Keys(Recipe):
    def decode(self, sample: dict[str, Any], rng: np.random.Generator) -> Any:
        return sample["key"], sample["data"]

    def collate(self, samples: list[Any]) -> Any:
        return samples


def raw_set(folder: Path) -> Dataset:
    """Objects indexed in place: their columns allow no nulls."""
    uri = raw_files(folder, [b"raw %d" % n for n in range(5)])
    index(uri)
    return Dataset.open(uri)


def packed_set(folder: Path, *columns: tuple[str, pa.DataType]) -> Dataset:
    """Five samples in Arrow shards."""
    rows = ({name: f"packed {n}" for name, _ in columns} for n in range(5))
    samples = (
        {name: text.encode() if name == "data" else text for name, text in row.items()} for row in rows
    )
    write_shards(samples, pa.schema(list(columns)), folder.as_uri())
    return Dataset.open(folder.as_uri())


KEY, DATA = ("key", pa.string()), ("data", pa.large_binary())


def test_sources_of_different_kinds_mix_if_their_columns_agree(tmp_path):
    sets = [raw_set(tmp_path / "raw"), packed_set(tmp_path / "packed", KEY, DATA)]
    mixture = DataMixture(sources=tuple(map(pinned, sets)), weights=(1, 1), epoch_end="last")
    data = opened(job(mixture, batch_size=10, virtual_ranks=1), Keys())
    with data.feed([0], 0) as feed:
        batch, _ = feed.take(0, 0)
    assert {bytes(content) for _, content in batch} == {
        b"%s %d" % (kind, n) for kind in (b"raw", b"packed") for n in range(5)
    }


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ([KEY], "there is no column data, unlike in"),
        ([KEY, ("data", pa.string())], "the column data is string and not large_binary"),
        ([KEY, DATA, ("more", pa.string())], "there is a column more"),
        ([DATA, KEY], "the columns come in the order data, key"),
    ],
)
def test_sources_with_other_columns_are_refused_by_name(tmp_path, columns, message):
    rows = [{name: b"x" if kind == DATA[1] else "x" for name, kind in columns}]
    write_shards(iter(rows), pa.schema(columns), (tmp_path / "other").as_uri())
    sets = [raw_set(tmp_path / "raw"), Dataset.open((tmp_path / "other").as_uri())]
    mixture = DataMixture(sources=tuple(map(pinned, sets)), weights=(1, 1), epoch_end="last")
    with pytest.raises(DataError, match=message) as caught:
        opened(job(mixture), Keys())
    assert (tmp_path / "other").as_uri() in str(caught.value)


def test_a_source_that_was_changed_since_is_refused(mixture):
    changed = replace(mixture.sources[1], manifest_digest="0" * 64)
    other = replace(mixture, sources=(mixture.sources[0], changed, mixture.sources[2]))
    with pytest.raises(DataError, match="another data set"):
        opened(job(other), Drawn())
