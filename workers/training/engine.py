"""The training engine of one worker: builds a job's recipe once, then trains in one generation after another.

Needs neither Ray nor a supervisor: it takes memberships and reports events.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import closing

import torch

from workers.data.schedule import Steps
from workers.numerics import environment
from workers.numerics.ddp import FastDDP, GradientReducer
from workers.numerics.exchange import Exchange, PeerLost
from workers.numerics.generation import abort_default_group, form, join_default_group, serve_store
from workers.orders import Orders
from workers.protocol import Activity, Formed, Membership, Ready, TrainJob
from workers.reporter import Reporter
from workers.training.build import Built, build
from workers.training.connection import connection
from workers.training.healing import Held, agree, heal
from workers.training.initial import begin_from
from workers.training.saving import Checkpoints
from workers.training.step import StepRunner, Team, call_loss
from workers.training.train import Progress, TrainingRun
from workers.training.training_data import HeadStart
from workers.training.warmup import WarmUp, passes


class Engine:
    """Builds and trains one replica of a job.

    Args:
        job: what to train.
        orders: what the supervisor has told this worker.
        reporter: where events go.
        node, node_id: the machine's name, for people, and what is unique about it.
        host: the address at which other workers reach this one.
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
    ) -> None:
        self._job, self._orders, self._reporter = job, orders, reporter
        self._node, self._node_id, self._host = node, node_id, host
        self._device = torch.device(job.device)
        self._built: Built
        self._checkpoints: Checkpoints
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

    def build(self) -> Mapping[str, float]:
        """See `workers.training.build`; returns the seconds that it took, by phase."""
        self._built = build(self._job)
        replica, schedule = self._built.replica, self._built.data.schedule
        self._checkpoints = Checkpoints(self._job, replica, schedule, self._orders)
        return self._built.seconds

    def announce(self, startup: Mapping[str, float]) -> None:
        """Be there for others: reports `Ready`.

        Args:
            startup: seconds by phase, of what it took until now.
        """
        if self._device.type == "cuda":
            self._reporter.meter.watch_gpu(f"GPU-{torch.cuda.get_device_properties(0).uuid}")
        self._store, address = serve_store(self._host)
        self._reporter.report(
            Ready,
            pid=os.getpid(),
            node=self._node,
            node_id=self._node_id,
            device=self._job.device,
            store=address,
            fingerprint=environment.fingerprint(self._job.device, self._built.replica.optimizer),
            startup=startup,
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
        data = self._built.data.without(membership.left_out)
        begun = HeadStart(data, membership.hosted[rank], expected)
        try:
            with closing(begun), connection(connect, self._orders, membership.generation) as exchange:
                self._train(membership, exchange, data.schedule, begun)
        except PeerLost:
            self._reporter.stopwatch.enter(Activity.RECOVERY)
            raise

    def see_save_through(self, generation: int) -> None:
        """Wait a while for a save that is on its way: it should not be lost with a worker that fails."""
        with self._reporter.stopwatch.within(Activity.CHECKPOINT_STALL):
            self._checkpoints.see_through(generation)

    def _train(self, membership: Membership, exchange: Exchange, schedule: Steps, begun: HeadStart) -> None:
        built = self._built
        restored, healed = self._settle(membership, exchange)
        reducer, warm_up, exchange = self._reducer(membership, exchange)
        team = Team(
            exchange=exchange,
            hosted=membership.hosted,
            superseded=lambda: self._orders.superseded(membership.generation),
        )
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
            schedule=schedule,
            team=team,
            value_names=warm_up.value_names,
            stopwatch=self._reporter.stopwatch,
            settle=self._checkpoints.settle,
        )
        run = TrainingRun(
            job=self._job,
            membership=membership,
            runner=runner,
            replica=built.replica,
            schedule=schedule,
            team=team,
            evaluation=built.evaluation,
            checkpoints=self._checkpoints,
            orders=self._orders,
            reporter=self._reporter,
            progress=self._progress,
        )
        run.run(catch_up=not restored)
        self._reporter.stopwatch.enter(Activity.IDLE)
        self._orders.next_membership(after=membership.generation)

    def _settle(self, membership: Membership, exchange: Exchange) -> tuple[bool, bool]:
        """All members come to hold one state: the furthest that any of them has, else a checkpoint's, else
        the initial one, which may be made of another job's. Returns whether this one was restored from a
        checkpoint, and healed by a peer."""
        built = self._built
        self._checkpoints.begin(membership)
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
            self._checkpoints.restore(membership.resume_step, exchange)
        elif self._job.init_from is not None:
            begin_from(built.replica, self._job.init_from)
        built.buffers.settle()
        self._holds_state = True
        return restored, False

    def _reducer(
        self, membership: Membership, exchange: Exchange
    ) -> tuple[GradientReducer, WarmUp, Exchange]:
        """What reduces in this generation, what is known of it, and the exchange to use beside it."""
        built, rank = self._built, exchange.rank
        if built.reducer is not None and built.warm_up is not None:
            built.reducer.join(exchange, membership.hosted)
            return built.reducer, built.warm_up, exchange
        replica, batch = built.replica, built.data.first_batch()
        beside = join_default_group(membership, rank, self._device, self._job.name) or exchange

        def abort() -> None:
            exchange.abort()
            beside.abort()
            abort_default_group(rank, self._device)

        self._orders.when_superseded(membership.generation, abort)
        fast = FastDDP(
            replica.model,
            membership.hosted[rank],
            exchange.world,
            filler=lambda module: call_loss(replica.recipe, module, batch)[0],
        )
        warm_up = passes(replica, fast.module, built.buffers, batch, self._job.seed)
        return fast, warm_up, beside
