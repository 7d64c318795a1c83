"""Training on packed tokens: each in one sample an epoch, from any step on, the same bits on any workers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.support.datasets import token_set
from tests.support.events import train_job
from tests.support.groups import connected, in_threads
from tests.support.local_run import LocalRun
from workers import Recipe
from workers.data.dataset import Dataset
from workers.data.decoder import Decoder
from workers.numerics.exchange import Exchange
from workers.numerics.tree import dyadic_assignment
from workers.protocol import DataMixture, DataSource, LeftOut, Packing, TrainJob
from workers.training.training_data import (
    TrainingData,
    open_evaluation_data,
    open_training_data,
)

V, MICRO, LENGTH = 4, 3, 24
RNG = np.random.default_rng(0)
DOCUMENTS = [RNG.integers(0, 90, 120).tolist(), [7] * 100]
FIRST = (0, 100_000)
TOKENS = [sum(lengths) for lengths in DOCUMENTS]
PACKING = Packing(column="tokens", length=LENGTH)


class Rows(Recipe):
    """A batch is a list of (tokens, what was drawn for them)."""

    def decode(self, sample: dict[str, Any], rng: np.random.Generator) -> Any:
        return tuple(sample["tokens"].tolist()), rng.random()

    def collate(self, samples: list[Any]) -> Any:
        return samples


@pytest.fixture(scope="module")
def sets(tmp_path_factory) -> list[Dataset]:
    return [
        token_set(tmp_path_factory.mktemp("set"), lengths, first=first)
        for lengths, first in zip(DOCUMENTS, FIRST, strict=True)
    ]


def source(dataset: Dataset, window: int | None) -> DataSource:
    total = int(dataset.manifest.values["tokens"].sum())
    return DataSource(
        uri=dataset.store.uri,
        manifest_digest=dataset.manifest.digest,
        rows=total // LENGTH,
        window_blocks=window,
        packing=PACKING,
    )


def fields(train: DataSource | DataMixture, **changes: Any) -> dict[str, Any]:
    return {"train": train, "virtual_ranks": V, "batch_size": V * MICRO, "steps": 60, **changes}


def opened(job: TrainJob, recipe: Recipe) -> TrainingData:
    return open_training_data(job, Decoder(recipe, job.seed))


def taken(data: TrainingData, vranks: Sequence[int], start: int, stop: int) -> dict[tuple[int, int], Any]:
    with data.feed(vranks, start) as feed:
        return {(step, v): feed.take(step, v) for step in range(start, stop) for v in vranks}


def samples_of(batches: dict[tuple[int, int], Any]) -> list[tuple[int, ...]]:
    return [tokens for batch, count in batches.values() if count for tokens, _ in batch]


@pytest.mark.parametrize("window", [None, 2])
def test_every_epoch_has_each_token_once_but_for_less_than_a_sample(sets, window):
    data = opened(train_job(**fields(source(sets[0], window))), Rows())
    epoch = data.schedule.steps_of(1)
    missing = []
    for number in range(2):
        batches = taken(data, range(V), number * epoch, (number + 1) * epoch)
        seen = Counter(token for sample in samples_of(batches) for token in sample)
        assert set(seen.values()) == {1}
        missing.append(set(range(TOKENS[0])) - set(seen))
        assert len(missing[-1]) == TOKENS[0] % LENGTH
        assert {len(sample) for sample in samples_of(batches)} == {LENGTH}
    if window is not None:  # what is left out is at the end of another block each time
        assert missing[0] != missing[1]


@pytest.mark.parametrize("window", [None, 3])
def test_resuming_at_any_step_with_any_virtual_ranks_gives_the_same_batches(sets, window):
    job = train_job(**fields(source(sets[0], window)))
    whole = taken(opened(job, Rows()), range(V), 0, 60)
    draws = [draw for batch, count in whole.values() if count for _, draw in batch]
    assert len(set(draws)) == len(draws)
    for start in range(0, 60, 3):
        vranks = [[0, 3], [1], [2, 1, 0]][start % 3]
        resumed = taken(opened(job, Rows()), vranks, start, min(start + 4, 60))
        assert resumed == {place: whole[place] for place in resumed}


def mixture(sets: list[Dataset]) -> DataMixture:
    sources = tuple(source(dataset, window) for dataset, window in zip(sets, (2, None), strict=True))
    return DataMixture(sources=sources, weights=(3, 1), epoch_end="last")


def test_mixtures_are_packed_source_by_source(sets):
    data = opened(train_job(**fields(mixture(sets))), Rows())
    steps = 12
    samples = samples_of(taken(data, range(V), 0, steps))
    of_second = [sample for sample in samples if sample[0] >= FIRST[1]]
    assert abs(len(of_second) - len(samples) / 4) < 1
    assert all((min(sample) >= FIRST[1]) == (max(sample) >= FIRST[1]) for sample in samples)
    seen = Counter(token for sample in of_second for token in sample)
    assert max(seen.values()) - (min(seen.values()) if len(of_second) * LENGTH >= TOKENS[1] else 0) <= 1
    assert data.first_batch()[0][0] == tuple(range(LENGTH))


def test_a_damaged_block_takes_all_samples_with_it_that_reach_into_it(sets):
    data = opened(train_job(**fields(source(sets[0], 2))), Rows())
    whole = taken(data, range(V), 0, data.schedule.steps_of(1))
    block = 4
    tokens = sets[0].manifest.values["tokens"]
    first = int(tokens[:block].sum())
    damaged = set(range(first, first + int(tokens[block])))
    assert damaged
    remaining = data.without([LeftOut(block=block, step=1)])
    found = taken(remaining, range(V), 0, data.schedule.steps_of(1))
    for place, (batch, _) in whole.items():
        kept = [(sample, draw) for sample, draw in batch or [] if not damaged & set(sample)]
        assert (found[place][0] or []) == kept
        assert found[place][1] == len(kept) == remaining.schedule.at(place[0]).counts[place[1]]


def test_the_held_out_set_is_packed_in_stored_order(sets):
    job = train_job(**fields(source(sets[0], 2), evaluation=source(sets[1], None)))
    data = open_evaluation_data(job, Decoder(Rows(), 0))
    assert data is not None
    shares = [list(data.share(vrank)) for vrank in range(V)]
    turns = [shares[k % V][k // V] for k in range(sum(map(len, shares)))]
    tokens = [token for batch in turns for sample, _ in batch for token in sample]
    assert tokens == list(range(FIRST[1], FIRST[1] + TOKENS[1] // LENGTH * LENGTH))


class Language(Recipe):
    """Predicts the next token, with the default decode and collate."""

    def build_model(self) -> nn.Module:
        return nn.Sequential(nn.Embedding(16, 8), nn.Linear(8, 16))

    def build_optimizer(self, model: nn.Module) -> torch.optim.Optimizer:
        return torch.optim.AdamW(model.parameters(), lr=0.01)

    def loss(self, model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
        tokens = batch["tokens"].long() % 16
        return nn.functional.cross_entropy(model(tokens[:, :-1]).flatten(0, 1), tokens[:, 1:].flatten())


class WarmUp:
    """Stands for a table of rows; any slice is a batch."""

    def __len__(self) -> int:
        return 8

    def __getitem__(self, rows: slice) -> dict[str, Tensor]:
        return {"tokens": torch.zeros(2, LENGTH, dtype=torch.int64)}


def train(run: LocalRun, exchange: Exchange, stop: int) -> str:
    hosted = dyadic_assignment(V, exchange.world)
    data = opened(run.job, Language())
    run.schedule = data.schedule
    with data.feed(sorted(hosted[exchange.rank]), 0) as feed:
        run.feed = feed  # type: ignore[assignment]
        run.join(exchange, [sorted(vranks) for vranks in hosted])
        while run.replica.step < stop:
            run.runner.run()
    return run.replica.digest()


def test_the_bits_are_the_same_on_one_to_four_workers(sets):
    """More than one epoch, with a short last step in between."""
    digests = set()
    for train_on in (source(sets[0], 2), mixture(sets)):
        stop = 25
        of = set()
        for workers in (1, 2, 3, 4):
            runs = [LocalRun(Language(), WarmUp(), **fields(train_on)) for _ in range(workers)]
            members = zip(runs, connected(workers), strict=True)
            of |= set(in_threads([partial(train, run, exchange, stop) for run, exchange in members]))
        assert len(of) == 1
        digests |= of
    assert len(digests) == 2
    other = replace(source(sets[0], 2), packing=Packing(column="tokens", length=LENGTH + 1))
    run = LocalRun(Language(), WarmUp(), **fields(replace(other, rows=TOKENS[0] // (LENGTH + 1))))
    assert train(run, connected(1)[0], 25) not in digests
