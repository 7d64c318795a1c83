"""What is known of a script job, folded from what is heard of its ranks, and its history as entries."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from orchestrator.gang.events import Drain, Pause, Resize, Resume, Stop
from orchestrator.gang.states import Outcome
from orchestrator.records.facts import NO_PROMISE, Failure, JobState, WorkerState, WorkerStatus
from orchestrator.records.status import JobStatus, JobView
from orchestrator.records.steplog import Entry, EventEntry, Kind, LogEntry
from orchestrator.scripts.commands import Dismiss, Hire, Launch, Retry, Terminate
from orchestrator.scripts.job import ScriptJob
from orchestrator.scripts.ledger import ScriptLedger
from orchestrator.scripts.supervisor import Happening
from workers.protocol import Activity
from workers.script.protocol import Exited, Gone, Line, Placed, Recollection, Refused, Started, Up

#: What a job is in as soon as its ranks are ended for this.
_STATES = {"stop": JobState.STOPPING, "cancel": JobState.STOPPING, "pause": JobState.PAUSED}
_NOTE = "a script job: nothing is promised of the bits that its program computes"


def worker_name(rank: int) -> str:
    """What a rank is called among workers."""
    return f"rank-{rank}"


class ScriptBooks:
    """The supervisor's observer. Read from any thread.

    Args:
        submitted: seconds since the epoch.
        sink: takes each entry of the job's history.
    """

    def __init__(self, job: ScriptJob, submitted: float, sink: Callable[[Entry], None]) -> None:
        self._job, self._sink = job, sink
        self._lock = threading.Lock()
        self._status = JobStatus(job=job.name, steps=0, numerics=NO_PROMISE)
        self._ledger = ScriptLedger()
        self._since, self._until = submitted, float("inf")
        self._hired = False
        self._nodes: dict[int, str] = {}  # their ids, by rank
        self.note(_NOTE)

    def view(self, now: float) -> JobView:
        """The job as people see it."""
        with self._lock:
            until = min(now, self._until)
            return JobView(
                status=self._status, goodput=self._ledger.totals(until), seconds=until - self._since
            )

    def note(self, reason: str) -> None:
        """Something that whoever started the job should know."""
        self._tell(Kind.NOTE, reason)

    def adopted(self, memories: Sequence[Recollection]) -> None:
        """A new supervisor found these ranks: what they remember is all that is left of the history."""
        if not memories:
            return
        ranks, attempt = memories[0].ranks, max(memory.attempt for memory in memories)
        self.happened(Hire(attempt=attempt, ranks=ranks))
        self.happened(Placed(attempt=attempt))
        with self._lock:
            self._status = replace(self._status, generations=attempt + 1)
        for report in (report for memory in memories for report in memory.reports):
            if isinstance(report, (Up, Started)):
                self._came(report, time.time())

    def served(self, address: str) -> None:
        """The job's metrics can be scraped at `address`."""
        with self._lock:
            self._status = self._status.served(address)

    def ended(self, outcome: Outcome) -> None:
        """The job is over. What has no fault and is not done was stopped by its user."""
        now = time.time()
        state, failure = JobState.DONE if outcome.done else JobState.CANCELLED, None
        if outcome.fault is not None:
            state, failure = (
                JobState.FAILED,
                Failure(
                    worker=outcome.worker,
                    fault=outcome.fault,
                    message=outcome.message,
                    trace=outcome.trace,
                    step=None,
                    exit_code=outcome.exit_code,
                ),
            )
        with self._lock:
            self._ledger.only(0, now)
            self._status = self._status.ended(state, failure)
            self._until = now
        self._tell(Kind.ENDED, outcome.message or None, worker=outcome.worker, cause=state.value)

    def happened(self, what: Happening) -> None:
        """See `orchestrator.scripts.supervisor.Observer`."""
        now = time.time()
        match what:
            case Line():
                self._sink(_logged(what))
            case Hire() | Launch() | Terminate() | Dismiss() | Retry():
                self._commanded(what, now)
            case Placed():
                with self._lock:
                    self._ledger.begin_all(Activity.STARTUP, now)
                    self._status = self._status.placed(self._status.workers)
                self._tell(Kind.PLACED, f"{len(self._status.workers)} ranks")
            case Up() | Started():
                self._came(what, now)
            case Exited() | Refused() | Gone():
                self._went(what, now)
            case Resize():
                self._tell(Kind.WISH, f"{what.workers} workers", cause="resize")
            case Drain():
                self._tell(Kind.WISH, f"{what.node} within {what.seconds:g} s", cause="drain")
            case Stop():
                self._tell(Kind.WISH, f"to end within {what.seconds:g} s", cause="stop")
            case Pause() | Resume():
                name = type(what).__name__.lower()
                self._tell(Kind.WISH, name, cause=name)
                if isinstance(what, Resume):
                    self._set(state=JobState.STARTING)

    def _commanded(self, what: Hire | Launch | Terminate | Dismiss | Retry, now: float) -> None:
        match what:
            case Hire():
                waits = Activity.RECOVERY if self._hired else Activity.QUEUED
                names = [worker_name(rank) for rank in range(what.ranks)]
                with self._lock:
                    self._ledger.only(what.ranks, now)
                    self._ledger.begin(range(what.ranks), waits, now)
                    fresh = {name: WorkerStatus(id=name) for name in names}
                    self._status = replace(self._status, workers=fresh)
                self._hired = True
                self._tell(Kind.QUEUED, f"{what.ranks} ranks, attempt {what.attempt}")
            case Launch():
                with self._lock:
                    self._status = replace(self._status, generations=what.attempt + 1)
                self._tell(Kind.FORMED, f"attempt {what.attempt}: {len(what.orders)} ranks are started")
            case Terminate():
                with self._lock:
                    self._ledger.begin(what.ranks, Activity.DRAINING, now)
                reason = f"SIGTERM, and {what.seconds:g} s to end ({what.why})"
                self._tell(Kind.HOLD, reason, cause=what.why)
                if what.why in _STATES:
                    self._set(state=_STATES[what.why])
            case Dismiss():
                with self._lock:
                    self._ledger.begin_all(Activity.RECOVERY, now)
            case Retry():
                who = worker_name(what.rank) if what.rank is not None else None
                if what.trace:
                    self._tell(Kind.STACKS, what.trace.rstrip(), worker=who)
                again = f"{what.reason}; all ranks are started again in {what.seconds:g} s"
                self._tell(Kind.NOTE, again, worker=who, cause=what.cause)

    def _came(self, what: Up | Started, now: float) -> None:
        device = "cuda" if self._job.gpus else "cpu"
        if isinstance(what, Up):
            self._worker(what.rank, state=WorkerState.READY, node=what.node, device=device)
            self._nodes[what.rank] = what.node_id
            return
        with self._lock:
            self._ledger.begin([what.rank], Activity.PRODUCTIVE, now)
        worker = self._worker(what.rank, state=WorkerState.TRAINING, pid=what.pid)
        there = all(other.pid is not None for other in self._status.workers.values())
        if there and self._status.state in (JobState.QUEUED, JobState.STARTING):
            self._set(state=JobState.RUNNING)
        where = f"{worker.node} ({self._nodes.get(what.rank, '')[:12]})"
        reason = f"process {what.pid} on {where}, {worker.device}"
        self._tell(Kind.READY, reason, worker=worker.id)

    def _went(self, what: Exited | Refused | Gone, now: float) -> None:
        with self._lock:
            self._ledger.begin([what.rank], Activity.IDLE, now)
        if isinstance(what, Exited) and what.code == 0:
            self._worker(what.rank, state=WorkerState.FINISHED, exit_code=0)
            self._tell(Kind.NOTE, "ended with exit code 0", worker=worker_name(what.rank))
            return
        if isinstance(what, Exited):
            code = what.code if what.code is not None else -(what.signal or 0)
            how = f"exit code {code}" if code >= 0 else f"signal {-code}"
            worker = self._worker(what.rank, state=WorkerState.FAILED, exit_code=code)
            self._tell(Kind.WORKER_FAILED, f"ended with {how}", worker=worker.id, cause="exit")
            return
        cause = what.fault.value if isinstance(what, Gone) else "refused"
        reason = what.cause if isinstance(what, Gone) else what.message
        worker = self._worker(what.rank, state=WorkerState.LOST)
        self._tell(Kind.WORKER_LOST, reason, worker=worker.id, cause=cause)

    def _worker(self, rank: int, **changes: object) -> WorkerStatus:
        name = worker_name(rank)
        with self._lock:
            known = self._status.workers.get(name, WorkerStatus(id=name))
            worker = replace(known, **changes)  # type: ignore[arg-type]
            self._status = replace(self._status, workers={**self._status.workers, name: worker})
        return worker

    def _set(self, **changes: object) -> None:
        with self._lock:
            self._status = replace(self._status, **changes)  # type: ignore[arg-type]

    def _tell(
        self, kind: Kind, reason: str | None, *, worker: str | None = None, cause: str | None = None
    ) -> None:
        self._sink(EventEntry(time=time.time(), kind=kind, worker=worker, cause=cause, reason=reason))


def _logged(line: Line) -> LogEntry:
    return LogEntry(
        time=line.time,
        worker=worker_name(line.rank),
        stream=line.stream,
        attempt=line.attempt,
        text=line.text,
    )
