"""What is known of a job: a pure fold over its workers' events and its supervisor's decisions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from orchestrator.records.facts import (
    NO_PROMISE,
    Checkpoint,
    Disagreement,
    Failure,
    JobState,
    WorkerState,
    WorkerStatus,
    differences,
    json_float,
    json_floats,
)
from orchestrator.records.ledger import Goodput
from orchestrator.records.pace import Mark, Pace
from workers.protocol import (
    Broken,
    Damaged,
    Evaluated,
    Event,
    Failed,
    Finished,
    Formed,
    Membership,
    Parked,
    Ready,
    Saved,
    SaveFailing,
    SaveSkipped,
    StepDone,
    TrainJob,
)

_DISAGREEMENTS_MAX = 20
#: Begins the names of phases that a worker has reported, all of them part of the driver's "workers start".
WORKER_PHASE = "worker "


@dataclass(frozen=True, kw_only=True)
class SaveTimes:
    """How long the newest checkpoint took, on the worker that took longest.

    Attributes:
        seconds: from the step's end until its chunks were durable.
        stalled: of these, while training stood still.
    """

    step: int = -1
    seconds: float | None = None
    stalled: float | None = None

    def with_one_of(self, event: Saved) -> SaveTimes:
        """After a worker's report."""
        before = self if event.step == self.step else SaveTimes(step=event.step)
        return SaveTimes(
            step=event.step,
            seconds=max(before.seconds or 0.0, event.seconds),
            stalled=max(before.stalled or 0.0, event.stalled_seconds),
        )


@dataclass(frozen=True, kw_only=True)
class JobStatus:
    """One job at one moment. Every method returns the status after something happened.

    Attributes:
        step: the last committed step; `samples` and `loss` are as of it.
        samples_trained: samples that went into steps, those of steps done twice twice: never falls.
        metrics: the last evaluation's, after step `evaluated_step`.
        generations: how many memberships there have been.
        joined: the latest generation that a worker has joined.
        redone_steps: steps that were begun and had to be done again.
        failure: the first failure; None again when a new generation goes on.
        startup: seconds by phase: the driver's, then those of the worker that took longest, which run inside.
    """

    job: str
    steps: int
    numerics: str = "elastic"
    state: JobState = JobState.QUEUED
    step: int = 0
    epoch: int = 0
    samples: int = 0
    samples_trained: int = 0
    loss: float | None = None
    values: Mapping[str, float] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    evaluated_step: int | None = None
    state_digest: str | None = None
    checkpoint: Checkpoint | None = None
    checkpoints: int = 0
    saves_skipped: int = 0
    recalls: int = 0  # how often all workers were lost, and a checkpoint was gone on from
    failing_save: int | None = None
    save_times: SaveTimes = SaveTimes()
    written_bytes: int = 0
    generations: int = 0
    redone_steps: int = 0
    workers: Mapping[str, WorkerStatus] = field(default_factory=dict)
    pace: Pace = field(default_factory=Pace)
    failure: Failure | None = None
    disagreements: tuple[Disagreement, ...] = ()
    startup: Mapping[str, float] = field(default_factory=dict)
    metrics_address: str | None = None
    joined: int = -1
    _begun: int = 0  # the highest step that any worker has begun
    _reports: Mapping[int, StepDone] = field(default_factory=dict)  # steps that some worker has yet to report

    @classmethod
    def of(cls, job: TrainJob, checkpoint: Checkpoint | None = None) -> JobStatus:
        """A job that nothing has happened to; `checkpoint` is the one that it goes on from."""
        step = checkpoint.step if checkpoint is not None else 0
        return cls(
            job=job.name, steps=job.steps, numerics=job.numerics.value, step=step, checkpoint=checkpoint
        )

    @property
    def is_script(self) -> bool:
        """A script job: nothing is known of its steps."""
        return self.numerics == NO_PROMISE

    # --- what the supervisor does ---

    def queued(self, workers: Iterable[str]) -> JobStatus:
        """`workers` wait for a place."""
        return replace(self, workers={**self.workers, **{id: WorkerStatus(id=id) for id in workers}})

    def placed(self, workers: Iterable[str]) -> JobStatus:
        """`workers` have their places; their processes start."""
        state = JobState.STARTING if self.state is JobState.QUEUED else self.state
        started = {id: replace(self.workers[id], state=WorkerState.STARTING) for id in workers}
        return replace(self, state=state, workers={**self.workers, **started})

    def formed(self, membership: Membership) -> JobStatus:
        """A generation is being formed: who hosts what."""
        hosted = dict(zip(membership.workers, membership.hosted, strict=True))
        workers = {id: replace(worker, vranks=hosted.get(id, ())) for id, worker in self.workers.items()}
        return replace(self, workers=workers, generations=max(self.generations, membership.generation + 1))

    def checkpointed(self, uri: str, step: int) -> JobStatus:
        """A checkpoint is committed."""
        return replace(self, checkpoint=Checkpoint(uri=uri, step=step), checkpoints=self.checkpoints + 1)

    def lost(self, worker: str) -> JobStatus:
        """`worker` is gone."""
        if worker not in self.workers:
            return self
        return self._worker(worker, state=WorkerState.LOST, vranks=())

    def started(self, phases: Mapping[str, float]) -> JobStatus:
        """Driver-side phases of the start, in order: name → seconds."""
        theirs = {name: took for name, took in self.startup.items() if name.startswith(WORKER_PHASE)}
        return replace(self, startup={**phases, **theirs})

    def paused(self) -> JobStatus:
        """All workers stopped at a boundary, and stay there."""
        return replace(self, state=JobState.PAUSED)

    def served(self, address: str) -> JobStatus:
        """The job's metrics can be scraped at `address`."""
        return replace(self, metrics_address=address)

    def ended(self, state: JobState, failure: Failure | None = None) -> JobStatus:
        """The job is over; `failure` is what it failed of, where that is known better than from reports."""
        return replace(self, state=state, failure=failure or self.failure)

    # --- what workers report ---

    def apply(self, event: Event) -> JobStatus:
        """The status after a worker's report. Reports of a worker that is lost change nothing."""
        worker = self.workers.get(event.worker, WorkerStatus(id=event.worker))
        if worker.state is WorkerState.LOST:
            return self
        status = self._worker(event.worker, usage=event.usage) if event.usage is not None else self
        match event:
            case StepDone():
                return status._step_done(event)
            case Ready():
                return status._ready(event)
            case Formed():
                return status._formed(event)
            case Evaluated() if event.step >= (status.evaluated_step or 0):
                return replace(status, metrics=event.metrics, evaluated_step=event.step)
            case Evaluated():
                return status
            case Parked():
                return status._worker(event.worker, state=WorkerState.PARKED)
            case Broken() | Damaged():
                return replace(
                    status._worker(event.worker, state=WorkerState.RECOVERING),
                    _begun=max(status._begun, event.begun or 0),
                )
            case Saved():
                written = status.written_bytes + event.written_bytes
                return replace(status, written_bytes=written, save_times=status.save_times.with_one_of(event))
            case SaveFailing():
                return replace(status, failing_save=event.step)
            case SaveSkipped():
                return replace(status, saves_skipped=status.saves_skipped + 1)
            case Finished():
                digest = event.state_digest or status.state_digest
                return replace(status, state_digest=digest)._worker(event.worker, state=WorkerState.FINISHED)
            case Failed():
                return status._failed(event)
        raise TypeError(f"not a worker's event: {event!r}")

    def to_json(self, goodput: Goodput) -> dict[str, Any]:
        """The object that `--json` ends with. A float that JSON cannot say is a string ("NaN")."""
        return {
            "job": self.job,
            "state": self.state.value,
            "step": self.step,
            "steps": self.steps,
            "epoch": self.epoch,
            "samples": self.samples,
            "loss": json_float(self.loss),
            "metrics": json_floats(self.metrics),
            "state_digest": self.state_digest,
            "checkpoint": self.checkpoint and {"uri": self.checkpoint.uri, "step": self.checkpoint.step},
            "generations": self.generations,
            "redone_steps": self.redone_steps,
            "goodput": goodput.to_json(),
            "workers": [worker.to_json() for worker in self.workers.values()],
            "numerics": self.numerics,
            "failure": self.failure and self.failure.to_json(),
            "disagreements": [str(disagreement) for disagreement in self.disagreements],
            "startup": dict(self.startup),
            "metrics_address": self.metrics_address,
        }

    def _worker(self, id: str, **changes: Any) -> JobStatus:
        worker = self.workers.get(id, WorkerStatus(id=id))
        return replace(self, workers={**self.workers, id: replace(worker, **changes)})

    def _ready(self, event: Ready) -> JobStatus:
        startup = self.startup
        theirs = {WORKER_PHASE + name: took for name, took in event.startup.items()}
        ours = {name: took for name, took in startup.items() if not name.startswith(WORKER_PHASE)}
        if sum(theirs.values()) > sum(startup.values()) - sum(ours.values()):
            startup = {**ours, **theirs}
        status = replace(self, startup=startup)
        return status._worker(
            event.worker, state=WorkerState.READY, pid=event.pid, node=event.node, device=event.device
        )

    def _formed(self, event: Formed) -> JobStatus:
        status = self._worker(event.worker, state=WorkerState.TRAINING, step=event.step)
        if event.generation <= self.joined:
            return status
        return replace(
            status,
            state=JobState.RUNNING,
            step=event.step,
            generations=max(self.generations, event.generation + 1),
            redone_steps=self.redone_steps + max(0, self._begun - event.step),
            pace=self.pace.interrupted(),
            failure=None,
            recalls=self.recalls + (event.restored and self.generations > 0),
            joined=event.generation,
            _begun=event.step,
            _reports={},
        )

    def _step_done(self, event: StepDone) -> JobStatus:
        if event.generation < self.joined:
            return self
        status = self._worker(event.worker, step=event.step)
        if event.step > self.step:
            return status._advance(event)
        known = self._reports.get(event.step)
        found = differences(known, event) if known is not None else ()
        return replace(status, disagreements=(*self.disagreements, *found)[:_DISAGREEMENTS_MAX])

    def _advance(self, event: StepDone) -> JobStatus:
        training = [w.step for w in self.workers.values() if w.state is WorkerState.TRAINING]
        behind = min(training, default=event.step)
        reports = {step: report for step, report in self._reports.items() if step > behind}
        mark = Mark(time=event.time, step=event.step, samples=event.samples)
        return replace(
            self,
            step=event.step,
            epoch=event.epoch,
            samples=event.samples,
            samples_trained=self.samples_trained + max(0, event.samples - self.samples),
            loss=event.loss,
            values=event.values,
            pace=self.pace.stepped(mark, event.seconds),
            _begun=max(self._begun, event.step),
            _reports={**reports, event.step: event},
        )

    def _failed(self, event: Failed) -> JobStatus:
        status = self._worker(event.worker, state=WorkerState.FAILED)
        return replace(
            status, failure=self.failure or Failure.of(event), _begun=max(self._begun, event.step or 0)
        )


@dataclass(frozen=True, kw_only=True)
class JobView:
    """What people and Prometheus see of a job at one instant; `seconds` is wall time since it was queued."""

    status: JobStatus
    goodput: Goodput
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """`JobStatus.to_json`, with `seconds`."""
        return {**self.status.to_json(self.goodput), "seconds": self.seconds}
