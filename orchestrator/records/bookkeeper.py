"""Hears what happens to a job and keeps its scoreboard; passes on what is worth telling."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from orchestrator.gang.commands import Dismiss, Form, Hire, Hold
from orchestrator.gang.events import (
    CommitFailed,
    Committed,
    Drain,
    Pause,
    Recalled,
    Resize,
    Resume,
    SaveNow,
    Stop,
)
from orchestrator.gang.states import Outcome
from orchestrator.records.facts import Failure, JobState
from orchestrator.records.scoreboard import Scoreboard
from orchestrator.records.steplog import Entry, EventEntry, Kind
from orchestrator.records.timeline import Timeline
from orchestrator.supervisor import Happening
from workers.checkpoint.policy import Best
from workers.protocol import Evaluated, Event, Formed, Lost, Memory, Placed, Stacks, StandsBy


class Bookkeeper:
    """The supervisor's observer.

    Args:
        board: what is known of the job.
        timeline: closed when the first generation has formed.
        sinks: take each entry of the job's history.
        checkpoint_uri: the job's checkpoint folder.
        keep_best: the checkpoints that should stay for a metric.
    """

    def __init__(
        self,
        board: Scoreboard,
        timeline: Timeline,
        sinks: Sequence[Callable[[Entry], None]],
        checkpoint_uri: str | None,
        keep_best: Best | None = None,
    ) -> None:
        self._board, self._timeline, self._sinks = board, timeline, sinks
        self._checkpoint_uri = checkpoint_uri
        self._keep_best = keep_best
        self._placed = self._formed = False
        self._failing: int | None = None  # a step whose manifest could not be written

    def note(self, reason: str) -> None:
        """Something that whoever started the job should know."""
        self._tell((EventEntry(time=time.time(), kind=Kind.NOTE, reason=reason),))

    def adopted(self, memories: Sequence[Memory]) -> None:
        """A new supervisor found these workers: what they remember is all that is left of the history."""
        self.note(f"the supervisor had to start again, and found {len(memories)} of its workers")
        self._placed = self._formed = True
        for event in sorted((event for memory in memories for event in memory.events), key=lambda e: e.time):
            self.happened(event)
        for memory in memories:
            if memory.membership is not None:
                self._board.formed(memory.membership, time.time())

    def ended(self, outcome: Outcome) -> None:
        """The job is over. What has no fault and is not done was stopped: to go on later, or by its user."""
        state, failure = JobState.DONE if outcome.done else JobState.CANCELLED, None
        if outcome.stopped:
            state = JobState.STOPPING
        if outcome.fault is not None:
            state, failure = (
                JobState.FAILED,
                Failure(
                    worker=outcome.worker,
                    fault=outcome.fault,
                    message=outcome.message,
                    trace=outcome.trace,
                    step=outcome.step,
                    exit_code=outcome.exit_code,
                ),
            )
        self._tell(self._board.ended(state, time.time(), failure))

    def happened(self, what: Happening) -> None:
        """See `orchestrator.supervisor.Observer`."""
        now = time.time()
        if isinstance(what, Event):
            if isinstance(what, Formed) and not self._formed:
                self._formed = True
                self._mark("workers start")
            if isinstance(what, Evaluated):
                self._check_metric(what)
            self._tell(self._board.observe(what, now))
            return
        match what:
            case Hire():
                self._tell(self._board.queued(what.workers, now))
            case Placed():
                if not self._placed:
                    self._placed = True
                    self._mark("placement")
                self._tell(self._board.placed(what.workers, now))
            case Form():
                self._tell(self._board.formed(what.membership, now, what.why))
            case Hold():
                self._event(Kind.HOLD, what.why, cause=what.why)
                if what.why == "pause":
                    self._board.paused()
            case Committed():
                self._tell(self._board.checkpointed(self._checkpoint_uri or "", what.step, now))
            case CommitFailed(passing=True) if what.step != self._failing:
                self._failing = what.step
                reason = f"the manifest of step {what.step} cannot be written at the moment: {what.message}"
                self._event(Kind.NOTE, reason, cause="save_failing")
            case Lost():
                cause = what.fault.value
                self._tell(self._board.lost(what.worker, now, cause=cause, reason=what.cause))
            case Dismiss():
                self._dismissed(what, now)
            case StandsBy():
                reason = f"process {what.pid} on node {what.node[:12]}"
                self._event(Kind.STANDS_BY, reason)
            case Stacks():
                self._event(Kind.STACKS, what.text, worker=what.worker)
            case Recalled(step=step):
                found = f"the checkpoint of step {step}" if step is not None else "no checkpoint"
                self._event(Kind.NOTE, f"no worker is left that holds the state; there is {found}")
            case Resize():
                self._event(Kind.WISH, f"{what.workers} workers", cause="resize")
            case Drain():
                self._event(Kind.WISH, f"{what.node} within {what.seconds:g} s", cause="drain")
            case SaveNow():
                self._event(Kind.WISH, "a checkpoint", cause="save")
            case Stop():
                self._event(Kind.WISH, f"to save and end within {what.seconds:g} s", cause="stop")
            case Pause() | Resume():
                self._event(Kind.WISH, type(what).__name__.lower(), cause=type(what).__name__.lower())

    def _dismissed(self, what: Dismiss, now: float) -> None:
        if what.stacks:
            self._tell(self._board.lost(what.worker, now, cause="hang", reason=what.why))
        else:
            self._tell(self._board.dismissed(what.worker, now, reason=what.why))

    def _check_metric(self, what: Evaluated) -> None:
        """A metric that does not exist would keep nothing, and nobody would notice before it is missed."""
        best, self._keep_best = self._keep_best, None  # said once
        if best is not None and best.metric not in what.metrics:
            there = ", ".join(sorted(what.metrics)) or "nothing"
            self.note(
                f"checkpoint.keep_best keeps nothing: there is no metric {best.metric}; there is {there}"
            )

    def _event(self, kind: Kind, reason: str, *, worker: str | None = None, cause: str | None = None) -> None:
        step = self._board.status.step
        self._tell(
            (EventEntry(time=time.time(), kind=kind, step=step, worker=worker, cause=cause, reason=reason),)
        )

    def _mark(self, phase: str) -> None:
        self._timeline.mark(phase)
        self._board.started(self._timeline.phases)

    def _tell(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            for sink in self._sinks:
                sink(entry)
