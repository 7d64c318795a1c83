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
    SaveSkipped,
    StepDone,
    TrainJob,
)
from workers.reporter import Reporter
from workers.training.evaluate import evaluate
from workers.training.replica import Replica
from workers.training.saving import Checkpoints
from workers.training.signals import HOLD, SAVE_AND_HOLD, Signals
from workers.training.step import StepRunner, Team
from workers.training.training_data import EvaluationData


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
        self._saved_at = self._looked_at = self.membership.saved_step
        if catch_up:
            self._catch_up()
        while self.replica.step < self.job.steps:
            signals = self._step()
            self._after_step(signals)
            if signals.hold and self.replica.step < self.job.steps:
                self._park(signals)
                return
        self._evaluate()
        self._save()
        self._flush()
        digest = self.replica.digest() if self.team.exchange.rank == 0 else None
        self.reporter.report(
            Finished, generation=self.membership.generation, step=self.replica.step, state_digest=digest
        )

    def _step(self) -> Signals:
        """One step; returns what the workers have to say to one another."""
        begin, busy = time.perf_counter(), self._busy_seconds()
        self.progress.begun = self.replica.step + 1
        epoch = self.schedule.epoch(self.replica.step)
        try:
            result = self.runner.run(self._signals())
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
        return result.signals

    def _catch_up(self) -> None:
        """What an earlier generation may have left undone: all members hold the same step, and so agree."""
        if _due(self.replica.step, self.job.evaluate_every):
            self._evaluate()
        if _due(self.replica.step, self.job.checkpoint_every):
            self._save()

    def _after_step(self, signals: Signals) -> None:
        if _due(self.replica.step, self.job.evaluate_every):
            self._evaluate()
        self.checkpoints.check()
        every = self.job.checkpoint_every
        is_due = every is not None and self.replica.step // every > self._looked_at // every
        if self.replica.step == self.job.steps:
            return  # what comes now is the last save
        if signals.busy and not self.job.checkpoint_waits:
            if is_due:
                self._skip()
        elif is_due or signals.save:
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
        """Save the state as it is now, unless there is nowhere to or it is saved; writing goes on behind."""
        if not self.checkpoints.wanted or self._saved_at >= self.replica.step > 0:
            return
        with self.reporter.stopwatch.within(Activity.CHECKPOINT_STALL):
            self.checkpoints.save(self.team, self.membership.generation, self.reporter)
        self._saved_at = self._looked_at = self.replica.step

    def _skip(self) -> None:
        """Make no checkpoint of this step: the one before is still on its way."""
        self._looked_at = self.replica.step
        if self.team.exchange.rank == 0:
            self.reporter.report(SaveSkipped, step=self.replica.step)

    def _flush(self) -> None:
        """Return when what was to be saved is durable, as far as that is this worker's affair."""
        with self.reporter.stopwatch.within(Activity.CHECKPOINT_STALL):
            self.checkpoints.flush(self.membership.generation)

    def _park(self, signals: Signals) -> None:
        if signals.hold == SAVE_AND_HOLD:
            self._save()
            self._flush()
        self.reporter.report(Parked, generation=self.membership.generation, step=self.replica.step)

    def _signals(self) -> Signals:
        hold = self.orders.hold(self.membership.generation)
        return Signals(
            hold=0.0 if hold is None else SAVE_AND_HOLD if hold.save else HOLD,
            save=float(self.checkpoints.is_overdue),
            busy=float(self.checkpoints.is_busy),
        )

    def _busy_seconds(self) -> float:
        return self.reporter.stopwatch.totals().get(Activity.PRODUCTIVE, 0.0)


def _due(step: int, every: int | None) -> bool:
    return every is not None and step > 0 and step % every == 0
