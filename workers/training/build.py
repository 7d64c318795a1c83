"""Everything of a worker that needs no other worker: recipe, model, data, warm-up."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch

from workers.numerics import environment
from workers.numerics.buffers import StepBuffers
from workers.numerics.ddp import ElasticDDP
from workers.protocol import Numerics, TrainJob
from workers.training.decoding import open_decoder
from workers.training.recipes import load_recipe
from workers.training.replica import Replica
from workers.training.training_data import (
    EvaluationData,
    TrainingData,
    open_evaluation_data,
    open_training_data,
)
from workers.training.warmup import WarmUp, warm_up_elastic

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Built:
    """What serves a worker in all its generations.

    Attributes:
        seconds: by phase, of building it.
    """

    replica: Replica
    buffers: StepBuffers
    data: TrainingData
    evaluation: EvaluationData | None
    reducer: ElasticDDP | None  # None: made anew for each generation (`numerics: fast`)
    warm_up: WarmUp | None
    seconds: dict[str, float]


def build(job: TrainJob) -> Built:
    """In the thread that is going to train: some settings of torch are a thread's own.

    Raises:
        LockstepError: the recipe, the data or this machine is not what the job needs.
        Whatever the recipe raises.
    """
    seconds: dict[str, float] = {}
    environment.pin(job.threads, job.device)
    recipe = _timed(seconds, "recipe", lambda: load_recipe(job))
    device = torch.device(job.device)
    replica = _timed(seconds, "model", lambda: Replica(recipe, job.seed, device, job.freeze))
    replica.model.train()
    replica.scalars()  # what cannot be saved, or sent to another worker, is refused here and not later
    decoder = open_decoder(job, recipe)
    data = _timed(seconds, "data", lambda: open_training_data(job, decoder))
    evaluation = open_evaluation_data(job, decoder)
    buffers = StepBuffers(replica.model)
    reducer, warm_up = None, None
    if job.numerics is not Numerics.FAST:
        batch = data.first_batch()
        reducer, warm_up = _timed(
            seconds, "warm-up", lambda: warm_up_elastic(replica, buffers, batch, job.seed)
        )
    return Built(
        replica=replica,
        buffers=buffers,
        data=data,
        evaluation=evaluation,
        reducer=reducer,
        warm_up=warm_up,
        seconds=seconds,
    )


def _timed(seconds: dict[str, float], phase: str, call: Callable[[], T]) -> T:
    begin = time.perf_counter()
    result = call()
    seconds[phase] = time.perf_counter() - begin
    return result
