"""One job's status and ledger behind one lock: its supervisor writes, the display and Prometheus read."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping

from orchestrator.records.facts import Checkpoint, Failure, JobState
from orchestrator.records.ledger import Ledger
from orchestrator.records.status import JobStatus, JobView
from orchestrator.records.steplog import Entry, EventEntry, Kind, StepEntry
from workers.protocol import (
    Broken,
    Damaged,
    Evaluated,
    Event,
    Failed,
    Formed,
    Membership,
    Ready,
    SaveFailing,
    SaveSkipped,
    StepDone,
    TrainJob,
)


class Scoreboard:
    """What the supervisor of a job tells, it tells here, in order; what became true comes back as entries.

    All times are seconds since the epoch by the supervisor's clock.

    Args:
        job: the job, to which nothing has happened yet.
        now: the time at which it was submitted.
        checkpoint: the one that it goes on from.
    """

    def __init__(self, job: TrainJob, now: float, checkpoint: Checkpoint | None = None) -> None:
        self._lock = threading.Lock()
        self._status = JobStatus.of(job, checkpoint)
        self._ledger = Ledger()
        self._since = now
        self._until: float | None = None

    @property
    def status(self) -> JobStatus:
        """The job as of now; a value that does not change."""
        return self._status

    def view(self, now: float) -> JobView:
        """The job as people see it at `now`. From any thread."""
        with self._lock:
            until = now if self._until is None else self._until
            return JobView(
                status=self._status, goodput=self._ledger.totals(until), seconds=until - self._since
            )

    def queued(self, workers: Iterable[str], now: float) -> tuple[Entry, ...]:
        """`workers` wait for a place."""
        workers = tuple(workers)
        with self._lock:
            self._ledger.queued(workers, now)
            self._status = self._status.queued(workers)
        return (EventEntry(time=now, kind=Kind.QUEUED, reason=_count(workers)),)

    def placed(self, workers: Iterable[str], now: float) -> tuple[Entry, ...]:
        """`workers` have their places; their processes start."""
        workers = tuple(workers)
        with self._lock:
            self._ledger.placed(workers, now)
            self._status = self._status.placed(workers)
        return (EventEntry(time=now, kind=Kind.PLACED, reason=_count(workers)),)

    def formed(self, membership: Membership, now: float, why: str = "") -> tuple[Entry, ...]:
        """A generation is being formed, for a reason."""
        with self._lock:
            self._status = self._status.formed(membership)
        vranks = sum(len(hosted) for hosted in membership.hosted)
        reason = f"generation {membership.generation}: {_count(membership.workers)}, {vranks} virtual ranks"
        if why:
            reason += f" ({why})"
        return (EventEntry(time=now, kind=Kind.FORMED, step=self._status.step, reason=reason),)

    def paused(self) -> None:
        """All workers stopped at a boundary, and stay there."""
        with self._lock:
            self._status = self._status.paused()

    def observe(self, event: Event, now: float) -> tuple[Entry, ...]:
        """Take a worker's report, which arrived at `now`."""
        with self._lock:
            before = self._status
            self._ledger.observe(event, now)
            self._status = after = before.apply(event)
        return (*_told(event, before, after, now), *_broken(before, after, now))

    def checkpointed(self, uri: str, step: int, now: float) -> tuple[Entry, ...]:
        """A checkpoint is committed."""
        with self._lock:
            self._ledger.checkpointed(step)
            self._status = self._status.checkpointed(uri, step)
        return (EventEntry(time=now, kind=Kind.CHECKPOINT, step=step, reason=uri),)

    def lost(self, worker: str, now: float, *, cause: str, reason: str) -> tuple[Entry, ...]:
        """`worker` is gone: a bounded code for why, and words."""
        with self._lock:
            self._ledger.lost(worker, now)
            self._status = self._status.lost(worker)
        step = self._status.step
        return (
            EventEntry(time=now, kind=Kind.WORKER_LOST, step=step, worker=worker, cause=cause, reason=reason),
        )

    def dismissed(self, worker: str, now: float, *, reason: str) -> tuple[Entry, ...]:
        """`worker` was let go: it is not needed any more."""
        with self._lock:
            self._ledger.released(worker, now)
            self._status = self._status.lost(worker)
        return (
            EventEntry(time=now, kind=Kind.DISMISSED, step=self._status.step, worker=worker, reason=reason),
        )

    def started(self, phases: Mapping[str, float]) -> None:
        """Driver-side phases of the start so far, in order: name → seconds."""
        with self._lock:
            self._status = self._status.started(phases)

    def served(self, address: str) -> None:
        """The job's metrics can be scraped at `address`."""
        with self._lock:
            self._status = self._status.served(address)

    def ended(self, state: JobState, now: float, failure: Failure | None = None) -> tuple[Entry, ...]:
        """The job is over, for `failure` where that is not what a worker reported; the clock stops."""
        with self._lock:
            self._ledger.ended(now, kept=state is JobState.DONE)
            self._status = status = self._status.ended(state, failure)
            self._until = now
        failure = status.failure if state is JobState.FAILED else None
        return (
            EventEntry(
                time=now,
                kind=Kind.ENDED,
                step=status.step,
                worker=failure.worker if failure else None,
                cause=state.value,
                reason=failure.message if failure else None,
            ),
        )


def _told(event: Event, before: JobStatus, after: JobStatus, now: float) -> tuple[Entry, ...]:
    """What is worth telling of a report."""
    match event:
        case StepDone() if after.step > before.step:
            return (
                StepEntry(
                    step=event.step,
                    epoch=event.epoch,
                    samples=event.samples,
                    loss=event.loss,
                    values=event.values,
                    time=event.time,
                ),
            )
        case Ready():
            took = sum(event.startup.values())
            where = f"{event.node} ({event.node_id[:12]})"
            start = f"after {took:.1f} s" if took else "which stood by"
            reason = f"process {event.pid} on {where}, {event.device}, {start}"
            return (EventEntry(time=now, kind=Kind.READY, worker=event.worker, reason=reason),)
        case Formed() if event.restored and after.joined != before.joined:  # once for all members
            reason = f"goes on from the checkpoint of step {event.step}"
            return (EventEntry(time=now, kind=Kind.FORMED, step=event.step, cause="restored", reason=reason),)
        case Evaluated() if after.evaluated_step != before.evaluated_step:
            reason = ", ".join(f"{name} {value:.6g}" for name, value in event.metrics.items())
            return (
                EventEntry(
                    time=now, kind=Kind.EVALUATED, step=event.step, reason=reason, values=event.metrics
                ),
            )
        case Formed() if event.healed:
            reason = f"took over the state of step {event.step} from another worker"
            return (
                EventEntry(
                    time=now,
                    kind=Kind.FORMED,
                    step=event.step,
                    worker=event.worker,
                    cause="healed",
                    reason=reason,
                ),
            )
        case SaveFailing() if before.failing_save != event.step:  # once for all members
            reason = f"cannot be written at the moment, training goes on: {event.message}"
            return (_note(event, now, "save_failing", reason),)
        case SaveSkipped():
            reason = "no checkpoint of this step: the one before is still on its way"
            return (_note(event, now, "save_skipped", reason),)
        case Broken():
            reason = f"generation {event.generation}: {event.message}"
            return (
                EventEntry(time=now, kind=Kind.BROKEN, step=event.begun, worker=event.worker, reason=reason),
            )
        case Damaged():
            reason = f"left out from now on: {event.message}"
            return (
                EventEntry(time=now, kind=Kind.DAMAGED, step=event.begun, worker=event.worker, reason=reason),
            )
        case Failed():
            return (
                EventEntry(
                    time=now,
                    kind=Kind.WORKER_FAILED,
                    step=event.step,
                    worker=event.worker,
                    cause=event.fault.value,
                    reason=event.message,
                ),
            )
    return ()


def _note(event: SaveFailing | SaveSkipped, now: float, cause: str, reason: str) -> EventEntry:
    return EventEntry(
        time=now, kind=Kind.NOTE, step=event.step, worker=event.worker, cause=cause, reason=reason
    )


def _broken(before: JobStatus, after: JobStatus, now: float) -> tuple[Entry, ...]:
    return tuple(
        EventEntry(
            time=now,
            kind=Kind.DISAGREEMENT,
            step=broken.step,
            worker=broken.worker,
            cause=broken.name,
            reason=str(broken),
        )
        for broken in after.disagreements[len(before.disagreements) :]
    )


def _count(workers: tuple[str, ...]) -> str:
    """`2 workers`."""
    return f"{len(workers)} worker" + ("" if len(workers) == 1 else "s")
