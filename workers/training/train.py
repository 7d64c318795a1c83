"""The training loop, top to bottom."""

from __future__ import annotations

import time
from dataclasses import dataclass

from workers.data.schedule import Schedule
from workers.protocol import Activity, Evaluated, Finished, Membership, StepDone, TrainJob
from workers.reporter import Reporter
from workers.training.evaluate import evaluate
from workers.training.replica import Replica
from workers.training.saving import Checkpoints
from workers.training.step import StepRunner, Team
from workers.training.training_data import EvaluationData


@dataclass(kw_only=True)
class TrainingRun:
    """One worker's part of one generation, from the replica's step to the job's last."""

    job: TrainJob
    membership: Membership
    runner: StepRunner
    replica: Replica
    schedule: Schedule
    team: Team
    evaluation: EvaluationData | None
    checkpoints: Checkpoints
    reporter: Reporter
    _begun: int | None = None
    _evaluated_at: int | None = None
    _saved_at: int | None = None

    @property
    def step(self) -> int:
        """The step, counted from 1, that was begun last; before the first, the last one done."""
        return self._begun or self.replica.step

    def run(self) -> None:
        """Step, evaluate, save; in the end evaluate and save once more, and report `Finished`."""
        self._saved_at = self.membership.resume_step
        while self.replica.step < self.job.steps:
            self._step()
            if _due(self.replica.step, self.job.evaluate_every):
                self._evaluate()
            if _due(self.replica.step, self.job.checkpoint_every):
                self._save()
        self._evaluate()
        self._save()
        digest = self.replica.digest() if self.team.exchange.rank == 0 else None
        self.reporter.report(Finished, step=self.replica.step, state_digest=digest)

    def _step(self) -> None:
        begin = time.perf_counter()
        self._begun = self.replica.step + 1
        epoch = self.schedule.at(self.replica.step).epoch
        result = self.runner.run()
        self.reporter.report(
            StepDone,
            generation=self.membership.generation,
            step=self.replica.step,
            epoch=epoch,
            samples=self.schedule.samples_before(self.replica.step),
            loss=result.loss,
            values=result.values,
            seconds=time.perf_counter() - begin,
        )

    def _evaluate(self) -> None:
        """Evaluate on the held-out set, unless there is none or it was done after this very step."""
        if self.evaluation is None or self._evaluated_at == self.replica.step:
            return
        with self.reporter.stopwatch.within(Activity.EVALUATION):
            metrics = evaluate(self.job, self.replica, self.evaluation.share, self.team)
        self._evaluated_at = self.replica.step
        self.reporter.report(Evaluated, step=self.replica.step, metrics=metrics)

    def _save(self) -> None:
        """Write this worker's chunks of a checkpoint, unless there is nowhere to or it is written."""
        if not self.checkpoints.wanted or self._saved_at == self.replica.step:
            return
        with self.reporter.stopwatch.within(Activity.CHECKPOINT_STALL):
            self.checkpoints.save(self.team, self.membership.generation, self.reporter)
        self._saved_at = self.replica.step


def _due(step: int, every: int | None) -> bool:
    return every is not None and step % every == 0
