"""Plain messages between a job's supervisor and its workers.

No torch and no Ray here: the control plane reads these. A worker is told what to train (`TrainJob`), who
belongs to a generation (`Membership`) and when to pause (`Hold`); it answers with events, in order, from one
outbox, and says at every look what it is doing (`Pulse`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

Json = Any

#: For a worker's environment, before torch is imported: that a peer does not answer is what workers are
#: there to handle, and nothing to fill a terminal with.
QUIET_TORCH = ("TORCH_CPP_LOG_LEVEL", "ERROR")


class Numerics(StrEnum):
    """What a job promises about bits."""

    ELASTIC = "elastic"  # the fixed tree: the same bits for every number of workers
    FAST = "fast"  # stock DDP all-reduce: no promise across numbers of workers
    RELAXED = "relaxed"  # the fixed tree, but resuming in another environment is allowed


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
    """Classes of failure; each has its own exit and its own budget (`orchestrator.gang.budgets`)."""

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
class DataSource:
    """A data set pinned to one version of its manifest, and the order it is read in."""

    uri: str
    manifest_digest: str
    rows: int
    window_blocks: int | None = None  # None: shuffled globally; else within a window of so many blocks


@dataclass(frozen=True, kw_only=True)
class TrainJob:
    """All that every worker of a job is told, the same for each, however many there are."""

    name: str
    recipe: str  # "module:Class"
    params: Mapping[str, Json]
    sources: Mapping[str, bytes]  # Python files beside the job file, by relative path
    source_folder: str | None  # where they lie on the submitter's machine
    seed: int
    virtual_ranks: int
    batch_size: int  # samples in one step, over all virtual ranks
    steps: int  # the step at which the job is done
    train: DataSource | None  # None: the recipe makes its own data
    evaluation: DataSource | None = None
    evaluate_every: int | None = None  # steps
    max_grad_norm: float | None = None
    checkpoint_uri: str | None = None  # this job's own folder: manifests/ and chunks/ live in it
    checkpoint_every: int | None = None  # steps
    checkpoint_keep: int = 3
    numerics: Numerics = Numerics.ELASTIC
    threads: int = 1  # CPU threads of one worker; part of the numerics
    device: str = "cpu"  # "cpu" or "cuda"
    gpu_shared: bool = False  # workers may share a GPU

    @property
    def micro_batch(self) -> int:
        """Samples that one virtual rank sees in a full step."""
        return self.batch_size // self.virtual_ranks


@dataclass(frozen=True, kw_only=True)
class Membership:
    """One generation: who belongs to it, who hosts which virtual ranks, and where its members meet.

    Attributes:
        generation: counts up within a job; never used twice. A higher one ends all lower ones.
        workers: worker ids by DDP rank.
        hosted: virtual ranks by DDP rank; together each of 0..V-1 exactly once.
        store: `host:port` of the rendezvous store, served by one of the members.
        resume_step: the checkpoint to restore if no member holds a state; None to start from nothing then.
        saved_step: no checkpoint of this step or an earlier one needs to be written again.
        committed_step: the newest checkpoint whose manifest is durable.
        wanted: how many workers the job should have.
        step: where training is expected to go on, for whoever wants to prepare for it; the members know.
    """

    generation: int
    workers: tuple[str, ...]
    hosted: tuple[tuple[int, ...], ...]
    store: str
    resume_step: int | None = None
    saved_step: int = 0
    committed_step: int = 0
    wanted: int = 0
    step: int = 0


@dataclass(frozen=True, kw_only=True)
class Hold:
    """Stop at the next step boundary and wait for a membership. All members stop at the same one: the wish
    rides in the step's exchange of losses, so it is enough that one of them has heard of it.

    Attributes:
        generation: what it is meant for; another generation does not care.
        save: write a checkpoint at that boundary first.
        pause: the job's owner wants it to stand still there.
    """

    generation: int
    save: bool = False
    pause: bool = False


@dataclass(frozen=True, kw_only=True)
class CheckpointCommitted:
    """The manifest of `step` is durable, and old checkpoints are cleared away: the next save may begin."""

    step: int


Order = Membership | Hold | CheckpointCommitted


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
    seconds: float


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


@dataclass(frozen=True, kw_only=True)
class Beat:
    """A sign of life of a worker, and what it is doing; not kept, unlike an event."""

    worker: str
    pulse: Pulse


@dataclass(frozen=True, kw_only=True)
class Lost:
    """A worker's process is gone: said by whoever watches it, not by itself."""

    worker: str
    cause: str
    fault: Fault = Fault.CRASH


@dataclass(frozen=True, kw_only=True)
class Vanished:
    """A worker's connection has closed, so its process is gone; why is heard later, as `Lost`."""

    worker: str


@dataclass(frozen=True, kw_only=True)
class Stacks:
    """What a worker that was ended for hanging was doing: the Python stacks of all its threads."""

    worker: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Placed:
    """Workers have their places; their processes start."""

    workers: tuple[str, ...]


#: All kinds of events.
Report = Ready | Formed | StepDone | Evaluated | Saved | Parked | Broken | Finished | Failed
#: All that can be heard of workers.
News = Report | Beat | Lost | Vanished | Stacks | Placed


@dataclass(frozen=True, kw_only=True)
class Memory:
    """What a worker remembers, for a supervisor that begins anew.

    Attributes:
        membership, hold: the newest that it was told.
        events: its newest one of each kind, and its latest ones, in the order in which they happened.
        position: the number of the last of them; see `workers.outbox`.
    """

    worker: str
    membership: Membership | None
    hold: Hold | None
    events: tuple[Report, ...]
    position: int
