"""The training loop, top to bottom."""

from __future__ import annotations

import time
from dataclasses import dataclass

from workers.data.schedule import Steps
from workers.numerics.exchange import PeerLost
from workers.orders import Orders
from workers.protocol import (
    Activity,
    Evaluated,
    Finished,
    Membership,
    Parked,
    StepDone,
    TrainJob,
)
from workers.reporter import Reporter
from workers.training.evaluate import evaluate
from workers.training.replica import Replica
from workers.training.saving import Checkpoints
from workers.training.step import StepRunner, Team
from workers.training.training_data import EvaluationData

#: What rides in a step's exchange of losses; the highest wins.
_GO_ON, _HOLD, _SAVE_AND_HOLD = 0.0, 1.0, 2.0


@dataclass(kw_only=True)
class Progress:
    """How far a worker has come with the state that it holds; outlives generations.

    Attributes:
        begun: the step, counted from 1, that was begun last; before the first, None.
        evaluated: the step whose state was evaluated last.
    """

    begun: int | None = None
    evaluated: int | None = None


@dataclass(kw_only=True)
class TrainingRun:
    """One worker's part of one generation, from the replica's step to the job's last or to a hold."""

    job: TrainJob
    membership: Membership
    runner: StepRunner
    replica: Replica
    schedule: Steps
    team: Team
    evaluation: EvaluationData | None
    checkpoints: Checkpoints
    orders: Orders
    reporter: Reporter
    progress: Progress

    def run(self, *, catch_up: bool) -> None:
        """Step, evaluate, save; in the end evaluate and save once more, and report `Finished`.

        Args:
            catch_up: do first what an earlier generation may have left undone after the replica's step.

        Raises:
            PeerLost: another member is gone. The replica holds the last step that this worker applied.
        """
        self._saved_at = self.membership.saved_step
        if catch_up:
            self._after_step()
        while self.replica.step < self.job.steps:
            signal = self._step()
            self._after_step()
            if signal != _GO_ON and self.replica.step < self.job.steps:
                self._park(signal)
                return
        self._evaluate()
        self._save()
        digest = self.replica.digest() if self.team.exchange.rank == 0 else None
        self.reporter.report(
            Finished, generation=self.membership.generation, step=self.replica.step, state_digest=digest
        )

    def _step(self) -> float:
        """One step; returns what the workers have to say to one another."""
        begin, busy = time.perf_counter(), self._busy_seconds()
        self.progress.begun = self.replica.step + 1
        epoch = self.schedule.epoch(self.replica.step)
        try:
            result = self.runner.run(self._signal())
        except PeerLost:
            self.reporter.stopwatch.rebook(Activity.PRODUCTIVE, Activity.REDONE, beyond=busy)
            raise
        self.reporter.report(
            StepDone,
            generation=self.membership.generation,
            step=self.replica.step,
            epoch=epoch,
            samples=self.schedule.samples_before(self.replica.step),
            loss=result.loss,
            values=result.values,
            seconds=time.perf_counter() - begin,
            busy_seconds=self._busy_seconds() - busy,
        )
        return result.signal

    def _after_step(self) -> None:
        if self.replica.step and _due(self.replica.step, self.job.evaluate_every):
            self._evaluate()
        if self.replica.step and _due(self.replica.step, self.job.checkpoint_every):
            self._save()

    def _evaluate(self) -> None:
        """Evaluate on the held-out set, unless there is none or it was done after this very step."""
        if self.evaluation is None or self.progress.evaluated == self.replica.step:
            return
        stopwatch = self.reporter.stopwatch
        with stopwatch.within(Activity.EVALUATION):
            metrics = evaluate(self.job, self.replica, self.evaluation.share, self.team, stopwatch)
        self.progress.evaluated = self.replica.step
        self.reporter.report(Evaluated, step=self.replica.step, metrics=metrics)

    def _save(self) -> None:
        """Write this worker's chunks of a checkpoint, unless there is nowhere to or it is written."""
        if not self.checkpoints.wanted or self._saved_at >= self.replica.step > 0:
            return
        with self.reporter.stopwatch.within(Activity.CHECKPOINT_STALL):
            self.checkpoints.save(self.team, self.membership.generation, self.reporter)
        self._saved_at = self.replica.step

    def _park(self, signal: float) -> None:
        if signal == _SAVE_AND_HOLD:
            self._save()
        self.reporter.report(Parked, generation=self.membership.generation, step=self.replica.step)

    def _signal(self) -> float:
        hold = self.orders.hold(self.membership.generation)
        return _GO_ON if hold is None else _SAVE_AND_HOLD if hold.save else _HOLD

    def _busy_seconds(self) -> float:
        return self.reporter.stopwatch.totals().get(Activity.PRODUCTIVE, 0.0)


def _due(step: int, every: int | None) -> bool:
    return every is not None and step % every == 0
