"""What becomes of a job when its owner wants something, or its supervisor tells something. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from orchestrator.exit_codes import INTERRUPTED, WRONG_INPUT
from orchestrator.gang import Outcome
from orchestrator.records.facts import JobState
from orchestrator.service.executor import Missing, NotStarted, Over, Seen
from orchestrator.store.records import JobRecord
from orchestrator.store.states import HOLDING, LEGAL, Intent

_CANCELLED = {"exit_code": INTERRUPTED, "fault": None, "message": "cancelled by its owner"}


@dataclass(frozen=True, kw_only=True)
class Move:
    """To another state.

    Attributes:
        cause: a bounded code.
        outcome: how the job ended, if it has.
        resumes: it goes on from its newest checkpoint from now on.
    """

    after: JobState
    cause: str
    reason: str
    who: str = "controller"
    outcome: Mapping[str, Any] | None = None
    resumes: bool = False
    data: Mapping[str, Any] = field(default_factory=dict)


def wished(record: JobRecord) -> Move | None:
    """What the job's owner wants of it that can be done at once."""
    state, who = record.state, record.submission.user
    match record.intent:
        case Intent.CANCEL if state in (JobState.QUEUED, JobState.PAUSED):
            reason = "cancelled by its owner"
            return Move(after=JobState.CANCELLED, cause="user", reason=reason, who=who, outcome=_CANCELLED)
        case Intent.CANCEL if state in (JobState.STARTING, JobState.RUNNING):
            return Move(after=JobState.STOPPING, cause="user", reason="its owner cancels it", who=who)
        case Intent.PAUSE if state is JobState.QUEUED:
            return Move(after=JobState.PAUSED, cause="user", reason="paused by its owner", who=who)
        case Intent.PAUSE if state in (JobState.STARTING, JobState.RUNNING):
            return Move(after=JobState.STOPPING, cause="user", reason="its owner pauses it", who=who)
        case Intent.RUN if state is JobState.PAUSED:
            return Move(after=JobState.QUEUED, cause="user", reason="its owner wants it to go on", who=who)
    return None


def heard(record: JobRecord, report: Seen | Over | Missing | NotStarted) -> Move | None:
    """What a report changes; nothing, if it is about another attempt, or is no news."""
    if report.attempt != record.attempt or record.state not in HOLDING:
        return None
    match report:
        case Seen(running=True) if record.state is JobState.STARTING:
            return Move(after=JobState.RUNNING, cause="started", reason="its workers train", who="supervisor")
        case Over():
            return _over(record, report.outcome)
        case Missing() if record.state is JobState.STOPPING:
            return _stopped(record, "it has stopped")
        case Missing() if record.state is JobState.RUNNING:
            return Move(
                after=JobState.QUEUED, cause="lost", reason=report.why, who="supervisor", resumes=True
            )
        case Missing():
            return Move(after=JobState.QUEUED, cause="start_failed", reason=report.why, resumes=True)
        case NotStarted(passing=True) if record.intent is Intent.RUN:
            return _again(record, report.message)
        case NotStarted():
            if record.intent is not Intent.RUN:
                return _stopped(record, "it was not started")
            outcome = {"exit_code": report.exit_code, "fault": "input", "message": report.message}
            return Move(after=JobState.FAILED, cause="input", reason=report.message, outcome=outcome)
    return None


def rejected(sentence: str) -> Move:
    """The scheduler will never start it."""
    outcome = {"exit_code": WRONG_INPUT, "fault": "input", "message": sentence}
    return Move(after=JobState.FAILED, cause="rejected", reason=sentence, who="scheduler", outcome=outcome)


def _again(record: JobRecord, message: str) -> Move:
    if record.state is JobState.STOPPING:
        return _stopped(record, message)
    return Move(after=JobState.QUEUED, cause="start_failed", reason=message)


def _over(record: JobRecord, outcome: Outcome) -> Move:
    if outcome.done:
        facts = {"exit_code": 0, "fault": None, "message": ""}
        return Move(
            after=JobState.DONE,
            cause="done",
            reason="it is done",
            who="supervisor",
            outcome=facts,
        )
    if outcome.fault is None:
        if record.intent is Intent.RUN and not outcome.stopped:  # somebody told the supervisor itself
            return Move(
                after=JobState.CANCELLED, cause="interrupted", reason="interrupted", outcome=_CANCELLED
            )
        return _stopped(record, outcome.message)
    if record.intent is Intent.CANCEL:
        return _stopped(record, outcome.message)
    facts = {
        "exit_code": outcome.exit_code,
        "fault": outcome.fault.value,
        "message": outcome.message,
        "trace": outcome.trace,
        "worker": outcome.worker,
        "step": outcome.step,
    }
    return Move(
        after=JobState.FAILED,
        cause=outcome.fault.value,
        reason=outcome.message,
        who="supervisor",
        outcome=facts,
    )


def _stopped(record: JobRecord, reason: str) -> Move:
    """Nothing of it is left on the cluster: what its owner wants says what it is now."""
    if record.intent is Intent.CANCEL:
        return Move(
            after=JobState.CANCELLED,
            cause="user",
            reason="cancelled by its owner",
            who="supervisor",
            outcome=_CANCELLED,
        )
    after = JobState.PAUSED if record.intent is Intent.PAUSE else JobState.QUEUED
    if after not in LEGAL[record.state]:
        after = JobState.QUEUED  # and from there to where its owner wants it
    return Move(after=after, cause="stopped", reason=reason, who="supervisor", resumes=True)
