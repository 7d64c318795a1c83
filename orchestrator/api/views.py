"""Records as the API shows them. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orchestrator.api import models
from orchestrator.store.records import (
    AuditRecord,
    EventRecord,
    JobRecord,
    QueueRecord,
    TokenRecord,
)
from orchestrator.store.states import ENDED

#: Of what was seen last: these the record knows better.
_OURS = frozenset({"job", "state"})
#: Of an event's data: these are its own.
_EVENTS_OWN = frozenset({"number", "time", "job", "kind", "before", "after", "who"})


def job(record: JobRecord) -> models.Job:
    """A job, with what was last seen of it."""
    submission = record.submission
    each: Mapping[str, Any] = submission.spec.get("workers") or {}
    seen = {key: value for key, value in (record.view or {}).items() if key not in _OURS}
    ours: dict[str, Any] = {
        "id": record.id,
        "number": record.number,
        "job": submission.name,
        "queue": submission.queue,
        "user": submission.user,
        "priority": submission.priority,
        "state": record.state,
        "intent": record.intent,
        "reason": record.reason,
        "submitted_at": record.submitted_at,
        "started_at": record.started_at,
        "ended_at": record.ended_at,
        "attempt": record.attempt,
        "min_workers": record.min_workers,
        "max_workers": record.max_workers,
        "cpus": each.get("cpus", 1.0),
        "gpus": each.get("gpus", 0.0),
        "service": record.attained_service,
        "explain": explanation(record),
        "outcome": record.outcome and dict(record.outcome),
        "bundle": submission.bundle,
    }
    return models.Job.model_validate({"steps": _steps(submission.spec), **seen, **ours})


def _steps(spec: Mapping[str, Any]) -> int | None:
    steps = (spec.get("stop") or {}).get("steps")
    return steps if isinstance(steps, int) else None


def explanation(record: JobRecord) -> models.Explanation | None:
    """Why it waits."""
    return models.Explanation.model_validate(dict(record.explain)) if record.explain else None


def why(record: JobRecord) -> models.Why:
    """Why it is where it is."""
    return models.Why(
        id=record.id,
        job=record.submission.name,
        state=record.state,
        reason=record.reason,
        explain=explanation(record),
    )


def is_over(record: JobRecord) -> bool:
    """Whether nothing more will happen to it."""
    return record.state in ENDED


def event(record: EventRecord) -> models.Event:
    """An event; what its data say stands beside what all events have."""
    data = {key: value for key, value in record.data.items() if key not in _EVENTS_OWN}
    ours = {
        "number": record.number,
        "time": record.time,
        "job": record.job,
        "kind": record.kind,
        "before": record.before,
        "after": record.after,
        "cause": record.cause or data.get("cause"),
        "reason": record.reason or data.get("reason"),
        "who": record.who,
    }
    return models.Event.model_validate({**data, **ours})


def queue(record: QueueRecord) -> models.Queue:
    """A queue."""
    return models.Queue.model_validate({**vars(record), **_plain(record)})


def _plain(record: QueueRecord) -> dict[str, Any]:
    return {
        "quota": None if record.quota is None else dict(record.quota),
        "limit": dict(record.limit),
        "user_limit": dict(record.user_limit),
    }


def token(record: TokenRecord) -> models.Token:
    """A token, without its secret."""
    queues = None if record.queues is None else list(record.queues)
    return models.Token.model_validate({**vars(record), "queues": queues})


def audit(record: AuditRecord) -> models.AuditEntry:
    """An entry of the audit log."""
    return models.AuditEntry(**vars(record))
