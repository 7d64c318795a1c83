"""The training engine of one worker: builds a job's recipe once, then trains in one generation after another.

Needs neither Ray nor a supervisor: it takes memberships and reports events.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import TypeVar

import torch

from workers.numerics import environment
from workers.numerics.buffers import StepBuffers
from workers.numerics.ddp import ElasticDDP, FastDDP, GradientReducer
from workers.numerics.exchange import Exchange, PeerLost
from workers.numerics.generation import abort_default_group, form, join_default_group, serve_store
from workers.orders import Orders
from workers.protocol import Activity, Formed, Membership, Numerics, Ready, TrainJob
from workers.reporter import Reporter
from workers.training.connection import connection
from workers.training.healing import Held, agree, heal
from workers.training.recipes import load_recipe
from workers.training.replica import Replica
from workers.training.saving import Checkpoints
from workers.training.step import StepRunner, Team, call_loss
from workers.training.train import Progress, TrainingRun
from workers.training.training_data import (
    EvaluationData,
    HeadStart,
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
    checkpoints: Checkpoints
    reducer: ElasticDDP | None  # None: made anew for each generation (`numerics: fast`)
    warm_up: WarmUp | None


class Engine:
    """Builds and trains one replica of a job.

    Args:
        job: what to train.
        orders: what the supervisor has told this worker.
        reporter: where events go.
        node, node_id: the machine's name, for people, and what is unique about it.
        host: the address at which other workers reach this one.
        startup: seconds by phase, of what the process did before.
    """

    def __init__(
        self,
        job: TrainJob,
        orders: Orders,
        reporter: Reporter,
        *,
        node: str,
        node_id: str,
        host: str,
        startup: Mapping[str, float],
    ) -> None:
        self._job, self._orders, self._reporter = job, orders, reporter
        self._node, self._node_id, self._host, self._startup = node, node_id, host, startup
        self._device = torch.device(job.device)
        self._built: _Built
        self._progress = Progress()
        self._holds_state = False

    @property
    def begun(self) -> int | None:
        """The step that was begun last, counted from 1, for reports of failure; None before training."""
        return self._progress.begun

    @property
    def step(self) -> int | None:
        """The step whose state this worker holds; None as long as it holds none that counts."""
        return self._built.replica.step if self._holds_state else None

    def build(self) -> None:
        """Everything that needs no other worker: recipe, model, data, warm-up. Reports `Ready`."""
        seconds = dict(self._startup)
        environment.pin(self._job.threads, self._job.device)
        if self._device.type == "cuda":
            self._reporter.meter.watch_gpu(f"GPU-{torch.cuda.get_device_properties(0).uuid}")
        recipe = _timed(seconds, "recipe", lambda: load_recipe(self._job))
        replica = _timed(seconds, "model", lambda: Replica(recipe, self._job.seed, self._device))
        replica.model.train()
        replica.scalars()  # what cannot be saved, or sent to another worker, is refused here and not later
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
            checkpoints=Checkpoints(self._job, replica, data.schedule, self._orders),
            reducer=reducer,
            warm_up=warm_up,
        )
        self._store, address = serve_store(self._host)
        self._reporter.report(
            Ready,
            pid=os.getpid(),
            node=self._node,
            node_id=self._node_id,
            device=self._job.device,
            store=address,
            fingerprint=environment.fingerprint(self._job.device, replica.optimizer),
            startup=seconds,
        )

    def train(self, membership: Membership) -> None:
        """Train in this generation until the job's last step, or until all members stop at a boundary.

        Returns when there is a newer generation: until then others may be about to read what this worker has
        sent, and a connection that closes can take it along.

        Raises:
            PeerLost: another member is gone. The replica holds the last step that this worker applied.
        """
        rank = membership.workers.index(self._reporter.worker_id)

        def connect() -> Exchange:
            name, shared = self._job.name, self._job.gpu_shared
            return form(membership, rank, self._device, name, self._host, shared=shared)

        expected = self.step if self.step is not None else membership.step
        begun = HeadStart(self._built.data, membership.hosted[rank], expected)
        try:
            with closing(begun), connection(connect, self._orders, membership.generation) as exchange:
                self._train(membership, exchange, begun)
        except PeerLost:
            self._reporter.stopwatch.enter(Activity.RECOVERY)
            raise

    def _train(self, membership: Membership, exchange: Exchange, begun: HeadStart) -> None:
        built = self._built
        team = Team(
            exchange=exchange,
            hosted=membership.hosted,
            superseded=lambda: self._orders.superseded(membership.generation),
        )
        restored, healed = self._settle(membership, exchange)
        reducer, warm_up = self._reducer(membership, exchange)
        self._reporter.report(
            Formed,
            generation=membership.generation,
            step=built.replica.step,
            restored=restored,
            healed=healed,
        )
        self._reporter.stopwatch.enter(Activity.PRODUCTIVE)
        runner = StepRunner(
            job=self._job,
            replica=built.replica,
            buffers=built.buffers,
            reducer=reducer,
            feed=begun.at(built.replica.step),
            schedule=built.data.schedule,
            team=team,
            value_names=warm_up.value_names,
            stopwatch=self._reporter.stopwatch,
        )
        run = TrainingRun(
            job=self._job,
            membership=membership,
            runner=runner,
            replica=built.replica,
            schedule=built.data.schedule,
            team=team,
            evaluation=built.evaluation,
            checkpoints=built.checkpoints,
            orders=self._orders,
            reporter=self._reporter,
            progress=self._progress,
        )
        run.run(catch_up=not restored)
        self._reporter.stopwatch.enter(Activity.IDLE)
        self._orders.next_membership(after=membership.generation)

    def _settle(self, membership: Membership, exchange: Exchange) -> tuple[bool, bool]:
        """All members come to hold one state: the furthest that any of them has, else a checkpoint's, else
        the initial one. Returns whether this one was restored from a checkpoint, and healed by a peer."""
        built = self._built
        built.checkpoints.begin(membership)
        agreement = agree(exchange, Held(self.step, self._progress.evaluated))
        self._progress.evaluated = agreement.held.evaluated
        if agreement.source is not None:
            healed = heal(exchange, built.replica, agreement)
            if healed:
                built.buffers.settle()
            self._holds_state = True
            return False, healed
        restored = membership.resume_step is not None
        if membership.resume_step is not None:
            built.checkpoints.restore(membership.resume_step)
            built.buffers.settle()
        self._holds_state = True
        return restored, False

    def _reducer(self, membership: Membership, exchange: Exchange) -> tuple[GradientReducer, WarmUp]:
        built, rank = self._built, exchange.rank
        if built.reducer is not None and built.warm_up is not None:
            built.reducer.join(exchange, membership.hosted)
            return built.reducer, built.warm_up
        replica, batch = built.replica, built.data.first_batch()
        join_default_group(membership, rank, self._device, self._job.name)

        def abort() -> None:
            exchange.abort()
            abort_default_group(rank, self._device)

        self._orders.when_superseded(membership.generation, abort)
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
