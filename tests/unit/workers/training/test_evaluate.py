"""Evaluation gives the same numbers for any W, and disturbs nothing."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.support.events import train_job
from tests.support.groups import connected, in_threads
from tests.support.local_run import CPU
from workers import Recipe
from workers.errors import RecipeError
from workers.numerics.exchange import Exchange, PeerLost
from workers.numerics.tree import dyadic_assignment, fold_leaves
from workers.protocol import Activity
from workers.telemetry import Stopwatch
from workers.training.evaluate import evaluate
from workers.training.replica import Replica
from workers.training.step import Team

V, SIZE = 6, 4
JOB = train_job(virtual_ranks=V, batch_size=V * SIZE)


class Toy(Recipe):
    def build_model(self) -> nn.Module:
        return nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Dropout(0.5))

    def build_optimizer(self, model: nn.Module) -> torch.optim.Optimizer:
        return torch.optim.SGD(model.parameters())

    def evaluate(self, model: nn.Module, batch: Tensor) -> dict[str, Tensor]:
        assert not torch.is_grad_enabled()
        assert not model.training
        return {"z": model(batch).sum(), "a": batch.square().sum(), "count": torch.tensor(len(batch))}


def rows(count: int) -> Tensor:
    return torch.randn(count, 3, generator=torch.Generator().manual_seed(count))


def share(data: Tensor, vrank: int) -> Iterator[Tensor]:
    return (data[start : start + SIZE] for start in range(vrank * SIZE, len(data), V * SIZE))


def evaluated(data: Tensor, world: int) -> list[dict[str, float]]:
    replicas = [Replica(Toy(), 0, CPU) for _ in range(world)]
    hosted = dyadic_assignment(V, world)

    def member(exchange: Exchange) -> dict[str, float]:
        team = Team(exchange=exchange, hosted=hosted)
        return evaluate(JOB, replicas[exchange.rank], lambda vrank: share(data, vrank), team, Stopwatch())

    exchanges = connected(world)
    return in_threads([lambda e=e: member(e) for e in exchanges])


@pytest.mark.parametrize("count", [1, 3, 9, 24, 25, 61])
def test_every_worker_knows_the_same_sums_for_any_number_of_workers(count):
    """1 row: most workers have no share, and still must know what the others' sums are called."""
    data = rows(count)
    model = Replica(Toy(), 0, CPU).model.eval()
    with torch.no_grad():
        leaves = [sum(float(model(batch).sum()) for batch in share(data, vrank)) for vrank in range(V)]
    z = fold_leaves([float(leaf) for leaf in leaves], float.__add__) / count
    for world in (1, 2, 3, 5):
        results = evaluated(data, world)
        assert results == [results[0]] * world
        assert results[0]["z"] == z
        assert set(results[0]) == {"a", "z"}
        assert results[0]["a"] == pytest.approx(data.square().sum().item() / count, rel=1e-6)


def test_who_waits_for_others_says_so():
    """A frozen worker is found by who waits for whom: only its own part is this worker's evaluation."""
    stopwatches = [Stopwatch(Activity.EVALUATION) for _ in range(3)]
    told: list[Activity] = []
    hosted = dyadic_assignment(V, 3)

    def slow(vrank: int) -> Iterator[Tensor]:
        until = time.monotonic() + 10
        while not told and time.monotonic() < until:
            if all(stopwatch.current()[0] is Activity.REDUCE_WAIT for stopwatch in stopwatches[:2]):
                told.append(stopwatches[2].current()[0])
        return share(rows(25), vrank)

    def member(exchange: Exchange) -> None:
        team = Team(exchange=exchange, hosted=hosted)
        data = slow if exchange.rank == 2 else lambda vrank: share(rows(25), vrank)
        evaluate(JOB, Replica(Toy(), 0, CPU), data, team, stopwatches[exchange.rank])

    in_threads([lambda e=e: member(e) for e in connected(3)])
    assert told == [Activity.EVALUATION]


def test_it_changes_nothing_and_goes_back_to_training():
    replica = Replica(Toy(), 0, CPU)
    replica.model.train()
    before = replica.digest()
    team = Team(exchange=connected(1)[0], hosted=[range(V)])
    evaluate(JOB, replica, lambda vrank: share(rows(25), vrank), team, Stopwatch())
    assert replica.digest() == before
    assert replica.model.training


class Odd(Toy):
    """Returns the next of some answers."""

    def __init__(self, answers: list[dict[str, float]]) -> None:
        self.answers = answers * V

    def evaluate(self, model: nn.Module, batch: Tensor) -> Any:
        return self.answers.pop(0)


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        ([{"loss": 1.0}], "without a count"),
        ([{"loss": 1.0, "count": 1}, {"loss": 1.0, "extra": 1.0, "count": 1}], "before"),
        ([{"loss": 1.0, "count": 0}], "counted nothing"),
    ],
)
@pytest.mark.parametrize("count", [V * SIZE, 2 * V * SIZE])
def test_sums_that_cannot_be_averaged_are_refused(answers, words, count):
    replica, team = Replica(Odd(answers * 2), 0, CPU), Team(exchange=connected(1)[0], hosted=[range(V)])
    with pytest.raises(RecipeError, match=words):
        evaluate(JOB, replica, lambda vrank: share(rows(count), vrank), team, Stopwatch())


def test_an_evaluation_that_a_newer_generation_overtakes_is_broken_off_and_training_can_go_on():
    replica, data = Replica(Toy(), 0, CPU), rows(61)
    (alone,) = connected(1)
    looks = iter([False, False, True])
    team = Team(exchange=alone, hosted=[list(range(V))], superseded=lambda: next(looks))
    with pytest.raises(PeerLost, match="newer generation"):
        evaluate(JOB, replica, lambda vrank: share(data, vrank), team, Stopwatch())
    assert replica.model.training
    again = Team(exchange=alone, hosted=[list(range(V))])
    assert (
        evaluate(JOB, replica, lambda vrank: share(data, vrank), again, Stopwatch()) == evaluated(data, 1)[0]
    )
