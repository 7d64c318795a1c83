"""What is kept, as plain frozen data. Times are seconds since the epoch; JSON values are plain."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypedDict

from orchestrator.records.facts import JobState
from orchestrator.store.states import Intent


@dataclass(frozen=True, kw_only=True)
class Submission:
    """A job as it was handed in.

    Attributes:
        name: no two jobs that are not over have the same.
        user: whose token it came with.
        key: hand in the same again with the same key, and the same job is returned; unique for each user.
        spec: the job file's fields, checked, as JSON.
        bundle: SHA-256 of the folder that came with it; None if there is none.
        start: "new" refuses where checkpoints of an earlier run are, "resume" goes on from them, "fresh"
            removes them.
    """

    name: str
    queue: str
    user: str
    priority: int
    min_workers: int
    max_workers: int
    spec: Mapping[str, Any]
    bundle: str | None = None
    key: str | None = None
    start: str = "new"


@dataclass(frozen=True, kw_only=True)
class JobRecord:
    """A job as it is now.

    Attributes:
        id: ten characters, never used again.
        number: counts up with each submission; lists are in its order.
        version: changes with each change of the record.
        min_workers, max_workers: as submitted, or as resized since.
        intent: what its owner wants.
        attempt: counts its starts; part of the names of all that a start brings into being.
        last_change_at: when it was submitted, started, resized or stopped last.
        started_at: when it began to run last.
        attained_service: GPU-seconds (CPU-seconds) as of last_change_at; see the scheduler's `Job`.
        reason: why it is in this state, in words: for a failure, what the user has to know.
        view: what was last seen of it, as `JobView.to_json` gives it.
        explain: why it waits, from the last plan: code, sentence, facts, remedy, eta.
        outcome: how it ended: exit_code, fault, message.
    """

    id: str
    number: int
    submission: Submission
    state: JobState
    version: int
    submitted_at: float
    min_workers: int
    max_workers: int
    intent: Intent = Intent.RUN
    attempt: int = 0
    attained_service: float = 0.0
    last_change_at: float = 0.0
    started_at: float | None = None
    ended_at: float | None = None
    reason: str = ""
    view: Mapping[str, Any] | None = None
    explain: Mapping[str, Any] | None = None
    outcome: Mapping[str, Any] | None = None


class Changes(TypedDict, total=False):
    """What can be changed of a job, beside its state; `start` is its submission's. See `JobRecord`."""

    intent: Intent
    min_workers: int
    max_workers: int
    start: str
    attempt: int
    attained_service: float
    last_change_at: float
    started_at: float | None
    view: Mapping[str, Any] | None
    explain: Mapping[str, Any] | None
    outcome: Mapping[str, Any] | None


@dataclass(frozen=True, kw_only=True)
class EventRecord:
    """Something that happened to a job. `number` counts up over all jobs.

    Attributes:
        kind: "submitted", "state", "resize", ... or, of what the supervisor told, its own kinds.
        before, after: the states, if it was a transition.
        cause: a bounded code: "plan", "user", "preempt", "lost", ...
        reason: in words.
        who: the user or "scheduler" or "supervisor".
        data: whatever else.
    """

    number: int
    job: str
    time: float
    kind: str
    before: JobState | None = None
    after: JobState | None = None
    cause: str = ""
    reason: str = ""
    who: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Note:
    """What is to be written about a job: an event that has no number yet. See `EventRecord`."""

    kind: str
    cause: str = ""
    reason: str = ""
    who: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class AllocationRecord:
    """So many of a job's workers on a node. `leaving` of them were told to go."""

    job: str
    node: str
    workers: int
    leaving: int = 0


@dataclass(frozen=True, kw_only=True)
class QueueRecord:
    """A tenant; amounts as the scheduler's `Queue` has them (cpu_millis, gpu_millis, memory_mib), as JSON."""

    id: str
    weight: int = 1
    quota: Mapping[str, int] | None = None
    limit: Mapping[str, int | None] = field(default_factory=dict)
    user_limit: Mapping[str, int | None] = field(default_factory=dict)


class Role(StrEnum):
    """What a token may do; each may do what those before it may."""

    VIEWER = "viewer"
    SUBMITTER = "submitter"
    ADMIN = "admin"


@dataclass(frozen=True, kw_only=True)
class TokenRecord:
    """A token. The secret itself is not kept, only its SHA-256 (it has 256 random bits).

    Attributes:
        id: public, for lists and the audit log.
        user: whose it is.
        queues: which it is good for; None for all.
    """

    id: str
    user: str
    role: Role
    queues: tuple[str, ...] | None
    created_at: float
    expires_at: float | None = None
    revoked_at: float | None = None


@dataclass(frozen=True, kw_only=True)
class AuditRecord:
    """Who did, or tried to do, what, when, and from where."""

    number: int
    time: float
    who: str
    action: str
    target: str
    address: str
    allowed: bool
    detail: str = ""
