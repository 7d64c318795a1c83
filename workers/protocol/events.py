"""What workers report, in order, each event stamped with its worker's name, time, clock and use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

Json = Any


class Activity(StrEnum):
    """Where a worker-second can go. Each second is in exactly one of these."""

    QUEUED = "queued"
    PROVISIONING = "provisioning"
    STARTUP = "startup"
    PRODUCTIVE = "productive"
    DATA_WAIT = "data_wait"
    REDUCE_WAIT = "reduce_wait"
    CHECKPOINT_STALL = "checkpoint_stall"
    EVALUATION = "evaluation"
    RECOVERY = "recovery"
    REDONE = "redone"
    IDLE = "idle"
    DRAINING = "draining"


class Fault(StrEnum):
    """Classes of failure; each has its own budget (`orchestrator.gang.policy`)."""

    INPUT = "input"  # the job's input is wrong: recipe, data, checkpoint, access
    USER = "user"  # the recipe raised while training
    MEMORY = "memory"  # the worker ran out of memory
    STORAGE = "storage"  # a store refused or did not answer
    INTERNAL = "internal"  # ours
    CRASH = "crash"  # the worker's process died
    NODE = "node"  # the worker's node is gone
    HANG = "hang"  # the worker made no progress
    LINK = "link"  # exchanges between living workers broke
    POISON = "poison"  # different workers died in the same step


@dataclass(frozen=True, kw_only=True)
class Pulse:
    """What a worker is doing at the moment, and for how many seconds it has been at it."""

    activity: Activity
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Usage:
    """What a worker has used since its start: seconds of CPU, bytes resident, and its GPU, if it has one."""

    cpu_seconds: float = 0.0
    memory_bytes: int = 0
    gpu_utilisation: float | None = None  # 0..1
    gpu_memory_bytes: int | None = None


@dataclass(frozen=True, kw_only=True)
class Event:
    """Base of all that a worker reports. `clock` is its seconds so far by activity, since `began`."""

    worker: str
    time: float  # seconds since the epoch, the worker's clock
    clock: Mapping[Activity, float] = field(default_factory=dict)
    usage: Usage | None = None


@dataclass(frozen=True, kw_only=True)
class Ready(Event):
    """The recipe is built and warmed up; the worker waits for a membership."""

    pid: int
    node: str  # the machine's name, for people
    node_id: str  # unique among the cluster's nodes
    device: str
    store: str  # where a generation could meet, served by this worker
    fingerprint: Mapping[str, Json]
    startup: Mapping[str, float]  # seconds by phase, for the report


@dataclass(frozen=True, kw_only=True)
class Formed(Event):
    """The worker is connected to all members of a generation and holds the state of `step`."""

    generation: int
    step: int
    restored: bool = False  # from a checkpoint
    healed: bool = False  # from another member


@dataclass(frozen=True, kw_only=True)
class StepDone(Event):
    """Step number `step` (counted from 1) was applied. Losses and values are equal on all workers."""

    generation: int
    step: int
    epoch: int
    samples: int  # seen since the start of the job, by all virtual ranks
    loss: float
    values: Mapping[str, float]  # extra values of `loss`, the gradient norm, the learning rate
    seconds: float  # wall time of the step on this worker
    busy_seconds: float = 0.0  # of these, what it did not wait for data or for others


@dataclass(frozen=True, kw_only=True)
class Evaluated(Event):
    """The held-out set was evaluated after `step`."""

    step: int
    metrics: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Saved(Event):
    """This worker's chunks of a checkpoint are durable. `draft`: the manifest without chunks, from rank 0."""

    generation: int
    step: int
    chunks: Mapping[int, Json]  # chunk number → its record in the manifest
    draft: Mapping[str, Json] | None
    written_bytes: int
    seconds: float  # from the step's end until they were durable
    stalled_seconds: float = 0.0  # of these, while training stood still


@dataclass(frozen=True, kw_only=True)
class SaveFailing(Event):
    """This worker's chunks of a checkpoint cannot be written at the moment; it goes on trying behind."""

    step: int
    message: str


@dataclass(frozen=True, kw_only=True)
class SaveSkipped(Event):
    """No checkpoint is made of `step`: the one before is still on its way. From rank 0."""

    step: int


@dataclass(frozen=True, kw_only=True)
class Parked(Event):
    """The worker stopped at a boundary, as all members do, and waits for a membership with its state."""

    generation: int
    step: int


@dataclass(frozen=True, kw_only=True)
class Broken(Event):
    """The generation is over for this worker: it lost a peer, or was told of a newer one.

    It holds the state of `step`, if it holds any, and waits for a membership.
    """

    generation: int
    step: int | None
    begun: int | None  # the step that was broken off, counted from 1
    message: str


@dataclass(frozen=True, kw_only=True)
class Damaged(Event):
    """The generation is over for this worker: it needs a block of the training set that cannot be read.

    It holds the state of `step`, if it holds any, and waits for a membership that leaves the block out.
    """

    generation: int
    step: int | None
    begun: int | None  # the step that was broken off, counted from 1
    block: int  # counted through all data sets of the job's mixture
    message: str  # what is wrong with it, and where it is


@dataclass(frozen=True, kw_only=True)
class Finished(Event):
    """The job's last step is applied and all that this worker had to save is saved."""

    generation: int
    step: int
    state_digest: str | None  # from rank 0


@dataclass(frozen=True, kw_only=True)
class Failed(Event):
    """The worker cannot go on. It stays alive and keeps its state until it is told otherwise."""

    fault: Fault
    message: str
    trace: str | None = None  # the user's frames first
    step: int | None = None
    exit_code: int = 1


#: All kinds of events.
Report = (
    Ready
    | Formed
    | StepDone
    | Evaluated
    | Saved
    | SaveFailing
    | SaveSkipped
    | Parked
    | Broken
    | Damaged
    | Finished
    | Failed
)
