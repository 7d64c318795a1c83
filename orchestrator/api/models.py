"""What goes over the wire: these classes are the API's description. Times are seconds since the epoch."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from fastapi import Path, Query
from pydantic import BaseModel, ConfigDict, Field, model_validator

from orchestrator.records.facts import JobState
from orchestrator.store.records import Role
from orchestrator.store.states import Intent

_SLUG = r"^[a-z0-9]([a-z0-9_-]{0,61}[a-z0-9])?$"
INTEGER_MAX = 2**31 - 1

#: Parameters in paths. Nothing that could leave a folder is any of them.
JobRef = Annotated[str, Path(pattern=_SLUG, description="A job's id, or its name.")]
QueueId = Annotated[str, Path(pattern=_SLUG, description="A queue's name.")]
TokenId = Annotated[str, Path(pattern=r"^[a-z0-9]{1,32}$", description="A token's id, not its secret.")]
NodeId = Annotated[
    str, Path(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$", description="A node's id or name.")
]
Digest = Annotated[str, Path(pattern=r"^[0-9a-f]{64}$", description="SHA-256 of the bundle's bytes.")]

#: Parameters of lists.
PageLimit = Annotated[int, Query(ge=1, le=500, description="How many at most.")]
Cursor = Annotated[int | None, Query(ge=1, le=INTEGER_MAX, description="`next` of the page before.")]

Workers = Annotated[int, Field(ge=1, le=INTEGER_MAX)]
Number = Annotated[int, Field(ge=0, le=2**62)]


class Message(BaseModel):
    """Base of all that is sent or received; what is received has nothing unknown in it."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Fault(Message):
    """What was wrong, where, and what would be right."""

    what: str
    where: str | None
    fix: str | None


class Error(Message):
    """What every request that fails is answered with."""

    error: Fault


class NewJob(Message):
    """A job that is handed in."""

    spec: dict[str, Any] = Field(description="The job file's fields; paths in it are URIs.")
    bundle: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = Field(
        default=None, description="SHA-256 of the job's folder, which was sent before (PUT /v1/bundles)."
    )
    key: Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[\x21-\x7e]+$")] | None = Field(
        default=None,
        description="Chosen by the caller: the same, handed in again with the same key, gives the same job.",
    )
    start: Literal["new", "resume", "fresh"] = Field(
        default="new",
        description="Where checkpoints of an earlier run are: refuse, go on from the newest, or remove them.",
    )


class Explanation(Message):
    """Why a job waits, from the scheduler's last plan."""

    model_config = ConfigDict(extra="allow", frozen=True)

    code: str = Field(description="One of a fixed set, for programs.")
    sentence: str = Field(description="The same in words.")
    facts: dict[str, int | float | str] = Field(default={}, description="The numbers and names in it.")
    remedy: str = Field(default="", description="What would have to change.")
    eta: float | None = Field(default=None, description="When it starts, where that can be known.")


class Job(Message):
    """A job: what `lockstep status --json` prints, and what only a server knows."""

    model_config = ConfigDict(extra="allow", frozen=True)

    id: str
    number: int = Field(description="Counts up with each submission.")
    job: str = Field(description="Its name.")
    queue: str
    user: str
    priority: int
    state: JobState
    intent: Intent = Field(description="What its owner wants.")
    reason: str = Field(description="Why it is in this state, in words.")
    submitted_at: float
    started_at: float | None
    ended_at: float | None
    attempt: int = Field(description="How often it was started.")
    min_workers: int
    max_workers: int
    cpus: float = Field(description="Of each worker; and")
    gpus: float = Field(description="so many GPUs.")
    service: float = Field(
        description="GPU-seconds (CPU-seconds, if it has no GPUs) that it has had, as of its last change."
    )
    explain: Explanation | None = Field(description="Why it waits; null if it does not.")
    outcome: dict[str, Any] | None = Field(description="How it ended: exit_code, fault, message.")
    bundle: str | None
    step: int = 0
    steps: int | None = None
    epoch: int = 0
    samples: int = 0
    loss: float | str | None = Field(default=None, description="NaN and the infinities are strings.")
    metrics: dict[str, float | str | None] = {}
    state_digest: str | None = None
    checkpoint: dict[str, Any] | None = None
    generations: int = 0
    redone_steps: int = 0
    goodput: dict[str, Any] = {}
    workers: list[dict[str, Any]] = []


class Jobs(Message):
    """A page of jobs, the newest first."""

    jobs: list[Job]
    next: int | None = Field(description="`cursor` of the next page; null if this is the last.")


class Why(Message):
    """Why a job is where it is."""

    id: str
    job: str
    state: JobState
    reason: str
    explain: Explanation | None


class Resize(Message):
    """How many workers a job should have: exactly `workers`, or within limits."""

    workers: Workers | None = None
    min_workers: Workers | None = None
    max_workers: Workers | None = None

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        limits = (self.min_workers, self.max_workers)
        if (self.workers is None) == (limits == (None, None)):
            raise ValueError("give either workers, or min_workers and max_workers or one of them")
        return self


class Event(Message):
    """Something that happened to a job. Numbers count up over all jobs."""

    model_config = ConfigDict(extra="allow", frozen=True)

    number: int
    time: float
    job: str = Field(description="The job's id.")
    kind: str
    step: int | None = None
    worker: str | None = None
    before: JobState | None = None
    after: JobState | None = None
    cause: str | None = None
    reason: str | None = None
    who: str = ""


class Events(Message):
    """Events of a job, in order."""

    events: list[Event]
    next: int = Field(description="`after` of the next page.")
    over: bool = Field(description="The job has ended, and this is all that happened.")


class Log(Message):
    """A piece of a job's output."""

    text: str
    next: int = Field(description="`after` of the next piece: an offset in bytes.")
    over: bool = Field(description="The job has ended, and this is all that it wrote.")


class Amounts(Message):
    """Resources. A CPU or GPU has a thousand milli."""

    cpu_millis: Number = 0
    gpu_millis: Number = 0
    memory_mib: Number = 0


class Limits(Message):
    """The most that may be in use at once; null is no limit."""

    cpu_millis: Number | None = None
    gpu_millis: Number | None = None
    memory_mib: Number | None = None


class QueueSettings(Message):
    """What a queue gets."""

    weight: Annotated[int, Field(ge=1, le=1_000_000)] = Field(
        default=1, description="Its part of what is shared."
    )
    quota: Amounts | None = Field(
        default=None, description="What it always gets back from those who borrow; null: its part by weight."
    )
    limit: Limits = Limits()
    user_limit: Limits = Field(default=Limits(), description="For each of its users.")


class Queue(QueueSettings):
    """A queue."""

    id: str


class Queues(Message):
    """All queues that the caller may see."""

    queues: list[Queue]


class Node(Message):
    """A machine, as the control loop saw it last."""

    model_config = ConfigDict(extra="allow", frozen=True)

    id: str
    name: str = ""
    state: str = "up"
    zone: str = ""
    capacity: Amounts
    used: Amounts = Amounts()
    workers: int = Field(default=0, description="How many run there, of all jobs.")


class Nodes(Message):
    """All nodes."""

    nodes: list[Node]


class Drain(Message):
    """How soon a node must be empty."""

    seconds: Annotated[float, Field(gt=0, le=86_400 * 7, allow_inf_nan=False)] = 60.0


class NewToken(Message):
    """Whom a token is for."""

    user: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._@-]{0,99}$")]
    role: Role = Role.SUBMITTER
    queues: (
        Annotated[list[Annotated[str, Field(pattern=_SLUG)]], Field(min_length=1, max_length=1000)] | None
    ) = Field(default=None, description="Which it is good for; null for all.")
    expires_at: Annotated[float, Field(gt=0, le=1e11, allow_inf_nan=False)] | None = None


class Token(Message):
    """A token, without its secret."""

    id: str
    user: str
    role: Role
    queues: list[str] | None
    created_at: float
    expires_at: float | None
    revoked_at: float | None


class TokenWithSecret(Token):
    """A new token. Nobody can find out the secret again."""

    secret: str


class Tokens(Message):
    """All tokens there ever were."""

    tokens: list[Token]


class AuditEntry(Message):
    """Who did, or tried to do, what, when, and from where."""

    number: int
    time: float
    who: str
    action: str
    target: str
    address: str
    allowed: bool
    detail: str


class AuditLog(Message):
    """A page of the audit log, the newest first."""

    entries: list[AuditEntry]
    next: int | None = Field(description="`cursor` of the next page; null if this is the last.")


class QueueUse(Queue):
    """A queue, and what it has at the moment."""

    states: dict[str, int] = Field(description="How many of its jobs are in which state.")
    used: Amounts


class Summary(Message):
    """All at a glance, as `lockstep top` shows it."""

    time: float
    nodes: list[Node]
    queues: list[QueueUse]
    jobs: list[Job] = Field(description="Jobs that hold something first, then those that wait; not all.")


class Health(Message):
    """The service answers, and so does its database."""

    status: Literal["ok"] = "ok"
    version: str
