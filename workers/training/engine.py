"""The training engine of one worker: builds a job's recipe once, then trains in any generation.

Needs neither Ray nor a supervisor: it takes a membership and reports events.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import torch

from workers.numerics import environment
from workers.numerics.buffers import StepBuffers
from workers.numerics.ddp import ElasticDDP, FastDDP, GradientReducer
from workers.numerics.exchange import Exchange
from workers.numerics.generation import form, join_default_group, serve_store
from workers.protocol import Activity, Formed, Membership, Numerics, Ready, TrainJob
from workers.reporter import Reporter
from workers.training.recipes import load_recipe
from workers.training.replica import Replica
from workers.training.saving import Checkpoints, Commits
from workers.training.step import StepRunner, Team, call_loss
from workers.training.train import TrainingRun
from workers.training.training_data import (
    EvaluationData,
    TrainingData,
    open_evaluation_data,
    open_training_data,
)
from workers.training.warmup import WarmUp, passes, warm_up_elastic

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class _Built:
    """What `build` leaves for every generation."""

    replica: Replica
    buffers: StepBuffers
    data: TrainingData
    evaluation: EvaluationData | None
    reducer: ElasticDDP | None  # None: made anew for each generation (`numerics: fast`)
    warm_up: WarmUp | None


class Engine:
    """Builds and trains one replica of a job.

    Args:
        job: what to train.
        reporter: where events go.
        node: the machine's name, for people.
        host: the address at which other workers reach this one.
        startup: seconds by phase, of what the process did before.
    """

    def __init__(
        self, job: TrainJob, reporter: Reporter, *, node: str, host: str, startup: Mapping[str, float]
    ) -> None:
        self._job, self._reporter, self._node, self._host = job, reporter, node, host
        self._device, self._startup = torch.device(job.device), startup
        self._commits = Commits()
        self._built: _Built
        self._run: TrainingRun | None = None

    @property
    def step(self) -> int | None:
        """The step that was begun last, counted from 1, for reports of failure; None before training."""
        return self._run.step if self._run is not None else None

    def build(self) -> None:
        """Everything that needs no other worker: recipe, model, data, warm-up. Reports `Ready`."""
        seconds = dict(self._startup)
        environment.pin(self._job.threads, self._job.device)
        if self._device.type == "cuda":
            self._reporter.meter.watch_gpu(f"GPU-{torch.cuda.get_device_properties(0).uuid}")
        recipe = _timed(seconds, "recipe", lambda: load_recipe(self._job))
        replica = _timed(seconds, "model", lambda: Replica(recipe, self._job.seed, self._device))
        replica.model.train()
        if self._job.checkpoint_uri is not None:
            replica.scalars()  # what cannot be saved is refused here, and not at the first checkpoint
        data = _timed(seconds, "data", lambda: open_training_data(self._job, recipe))
        evaluation = open_evaluation_data(self._job, recipe)
        buffers = StepBuffers(replica.model)
        reducer, warm_up = None, None
        if self._job.numerics is not Numerics.FAST:
            batch = data.first_batch()
            reducer, warm_up = _timed(
                seconds, "warm-up", lambda: warm_up_elastic(replica, buffers, batch, self._job.seed)
            )
        self._built = _Built(
            replica=replica,
            buffers=buffers,
            data=data,
            evaluation=evaluation,
            reducer=reducer,
            warm_up=warm_up,
        )
        self._store, address = serve_store(self._host)
        self._reporter.report(
            Ready,
            pid=os.getpid(),
            node=self._node,
            device=self._job.device,
            store=address,
            fingerprint=environment.fingerprint(self._job.device, replica.optimizer),
            startup=seconds,
        )

    def committed(self, step: int) -> None:
        """The checkpoint of `step` is committed. From any thread."""
        self._commits.announce(step)

    def train(self, membership: Membership) -> None:
        """Train in this generation until the job's last step. Reports all that happens.

        Raises:
            PeerLost: another member is gone. The replica holds the last step that this worker applied.
        """
        built = self._built
        rank = membership.workers.index(self._reporter.worker_id)
        exchange = form(membership, rank, self._device, self._job.name, self._host)
        team = Team(exchange=exchange, hosted=membership.hosted)
        checkpoints = Checkpoints(self._job, built.replica, built.data.schedule, self._commits)
        if membership.resume_step is not None:
            checkpoints.restore(membership.resume_step)
            built.buffers.settle()
        reducer, warm_up = self._reducer(membership, exchange)
        restored = membership.resume_step is not None
        self._reporter.report(
            Formed, generation=membership.generation, step=built.replica.step, restored=restored
        )
        self._reporter.stopwatch.enter(Activity.PRODUCTIVE)
        with built.data.feed(team.own, built.replica.step) as feed:
            runner = StepRunner(
                job=self._job,
                replica=built.replica,
                buffers=built.buffers,
                reducer=reducer,
                feed=feed,
                schedule=built.data.schedule,
                team=team,
                value_names=warm_up.value_names,
                stopwatch=self._reporter.stopwatch,
            )
            self._run = TrainingRun(
                job=self._job,
                membership=membership,
                runner=runner,
                replica=built.replica,
                schedule=built.data.schedule,
                team=team,
                evaluation=built.evaluation,
                checkpoints=checkpoints,
                reporter=self._reporter,
            )
            self._run.run()
        self._reporter.stopwatch.enter(Activity.IDLE)

    def _reducer(self, membership: Membership, exchange: Exchange) -> tuple[GradientReducer, WarmUp]:
        built, rank = self._built, exchange.rank
        if built.reducer is not None and built.warm_up is not None:
            built.reducer.join(exchange, membership.hosted)
            return built.reducer, built.warm_up
        replica, batch = built.replica, built.data.first_batch()
        join_default_group(membership, rank, self._device, self._job.name)
        fast = FastDDP(
            replica.model,
            membership.hosted[rank],
            exchange.world,
            filler=lambda module: call_loss(replica.recipe, module, batch)[0],
        )
        warm_up = passes(replica, fast.module, built.buffers, batch, self._job.seed)
        return fast, warm_up


def _timed(seconds: dict[str, float], phase: str, call: Callable[[], T]) -> T:
    begin = time.perf_counter()
    result = call()
    seconds[phase] = time.perf_counter() - begin
    return result
