"""Parts of an engine in one process: a replica, warmed up, alone in its generation or with others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from tests.support.events import train_job
from workers.data.schedule import Schedule
from workers.numerics.buffers import StepBuffers
from workers.numerics.exchange import Alone, Exchange
from workers.protocol import TrainJob
from workers.recipe import Recipe
from workers.telemetry import Stopwatch
from workers.training.replica import Replica
from workers.training.step import StepRunner, Team
from workers.training.warmup import WarmUp, warm_up_elastic

CPU = torch.device("cpu")


class RowFeed:
    """Hands out consecutive rows of a table, by the schedule; a virtual rank without rows gets nothing."""

    def __init__(self, rows: torch.Tensor, schedule: Schedule) -> None:
        self._rows, self._schedule = rows, schedule

    def take(self, step: int, vrank: int) -> tuple[Any, int]:
        part = self._schedule.at(step)
        begin = vrank * len(self._rows) // self._schedule.vranks + part.start
        count = part.counts[vrank]
        return (self._rows[begin : begin + count] if count else None), count


class LocalRun:
    """One worker of a job, a step at a time; at first the only one. Build all of them in one thread."""

    def __init__(self, recipe: Recipe, rows: torch.Tensor, **job: Any) -> None:
        self.job: TrainJob = train_job(**job)
        self.schedule = Schedule(
            rows=len(rows), vranks=self.job.virtual_ranks, micro_batch=self.job.micro_batch
        )
        self.replica = Replica(recipe, self.job.seed, CPU)
        self.buffers = StepBuffers(self.replica.model)
        self.warm_up: WarmUp
        self.ddp, self.warm_up = warm_up_elastic(self.replica, self.buffers, rows[:2], self.job.seed)
        self.feed = RowFeed(rows, self.schedule)
        self.join(Alone(CPU), [list(range(self.job.virtual_ranks))])

    def join(
        self,
        exchange: Exchange,
        hosted: Sequence[Sequence[int]],
        superseded: Callable[[], bool] = lambda: False,
    ) -> None:
        """From now on belong to this generation."""
        self.team = Team(exchange=exchange, hosted=hosted, superseded=superseded)
        self.ddp.join(exchange, hosted)
        self.runner = StepRunner(
            job=self.job,
            replica=self.replica,
            buffers=self.buffers,
            reducer=self.ddp,
            feed=self.feed,
            schedule=self.schedule,
            team=self.team,
            value_names=self.warm_up.value_names,
            stopwatch=Stopwatch(),
        )
