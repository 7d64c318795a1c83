"""What the scheduler sees: one moment of cluster, queues and jobs, as plain frozen data.

All that a policy remembers from one plan to the next is in here too. Times are seconds on one clock, the
caller's. Nothing is said twice: what a node has left follows from its capacity and the allocations; an order
that is on its way shows where it acts, as a job that is starting or stopping, workers that are leaving, a
node that is booting.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

#: The kinds of resources, in the order in which `Resources.amounts` has them.
KINDS = ("cpu_millis", "gpu_millis", "memory_mib")
Amounts = tuple[int, int, int]


@dataclass(frozen=True, kw_only=True, slots=True)
class Resources:
    """Exact amounts. Shares of a GPU are counted, not packed onto particular devices."""

    cpu_millis: int = 0
    gpu_millis: int = 0
    memory_mib: int = 0

    @property
    def amounts(self) -> Amounts:
        """In the order of `KINDS`."""
        return self.cpu_millis, self.gpu_millis, self.memory_mib


@dataclass(frozen=True, kw_only=True, slots=True)
class Limit:
    """The most that may be in use at once; None is no limit."""

    cpu_millis: int | None = None
    gpu_millis: int | None = None
    memory_mib: int | None = None

    @property
    def amounts(self) -> tuple[int | None, int | None, int | None]:
        """In the order of `KINDS`."""
        return self.cpu_millis, self.gpu_millis, self.memory_mib


UNLIMITED = Limit()


class JobState(StrEnum):
    """Where a job is, as far as the scheduler is concerned. Ended ones are not in a snapshot."""

    PENDING = "pending"
    STARTING = "starting"  # its start was ordered; it holds its allocation
    RUNNING = "running"
    STOPPING = "stopping"  # it was told to save and stop; it holds its allocation until it has


class Within(StrEnum):
    """What a gang has to share. Near is preferred in any case."""

    ANYWHERE = "anywhere"
    ZONE = "zone"
    NODE = "node"

    __hash__ = str.__hash__  # that of enums is written in Python


class _Remembering:
    """Has room for what a frozen job found out about itself."""

    __slots__ = ("_kind",)
    _kind: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Job(_Remembering):
    """A job that is not over.

    Attributes:
        version: changes with each change of the job; actions carry the one that they were decided on.
        request: of one worker.
        min_workers: what the job is entitled to once it runs. Workers beyond are on loan: anybody's minimum
            takes them back.
        selector: labels that a node must have.
        preemptible: it may be stopped for others. Loans are taken back in any case.
        min_runtime: seconds that it runs before it may be stopped.
        deadline: when it should be done.
        estimate: seconds that it takes, from the first step to the last, on min_workers.
        speed_curve: (workers, speed) in rising order; linear in between and from (0, 0), flat beyond. Empty:
            unknown.
        checkpoint_at: of a job that cannot save when it is told to: its newest checkpoint's time. What it did
            since is lost when it is stopped.
        restart_cost: seconds that stopping and starting it again wastes, beside that.
        attained_service: unit-seconds that it had at last_change_at; since then it gets `units` for each
            worker and second, if it runs. A unit is a GPU, or a CPU where no GPUs are asked for.
        restarts: how often it was started again.
        last_change_at: when it was submitted, started, resized or stopped last.
        started_at: when it started to run last; None for never.
    """

    id: str
    queue: str
    user: str = ""
    priority: int = 0
    submitted_at: float
    version: int = 0
    request: Resources
    min_workers: int = 1
    max_workers: int = 1
    selector: Mapping[str, str] = field(default_factory=dict)
    within: Within = Within.ANYWHERE
    preemptible: bool = True
    min_runtime: float = 0.0
    deadline: float | None = None
    estimate: float | None = None
    speed_curve: tuple[tuple[int, float], ...] = ()
    checkpoint_at: float | None = None
    restart_cost: float = 0.0
    state: JobState = JobState.PENDING
    attained_service: float = 0.0
    restarts: int = 0
    last_change_at: float = 0.0
    started_at: float | None = None

    @property
    def units(self) -> float:
        """What one worker gets in a second: see attained_service."""
        return (self.request.gpu_millis or self.request.cpu_millis) / 1000

    @property
    def kind(self) -> str:
        """Equal for jobs whose workers ask for the same, and that are of one priority."""
        try:  # each plan asks for it thousands of times
            return self._kind
        except AttributeError:
            asked = (self.priority, self.request.amounts, sorted(self.selector.items()), self.within.value)
            kind = sys.intern(repr(asked))
            object.__setattr__(self, "_kind", kind)
            return kind


class NodeState(StrEnum):
    """What a node can be used for."""

    UP = "up"
    BOOTING = "booting"  # asked for, or starting; can be used from its eta on
    DRAINING = "draining"  # goes away: nothing new, and what runs there moves


class Market(StrEnum):
    """How a node is paid for."""

    ON_DEMAND = "on_demand"
    SPOT = "spot"  # cheaper, and taken away at short notice


@dataclass(frozen=True, kw_only=True, slots=True)
class Node:
    """A machine, or one that was asked for.

    Attributes:
        type: of `NodeType`, or empty for one that nobody here added and nobody here removes.
        capacity: all of it that jobs may use.
        price: an hour's, in whatever the caller counts in.
        eta: when it is usable (booting) or gone (draining), if that is known.
        for_job: it was added for this job's gang, which has not started since. Nobody else gets it while the
            job is pending.
        idle_since: when its last worker left; None while there are any.
    """

    id: str
    type: str = ""
    capacity: Resources
    zone: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    market: Market = Market.ON_DEMAND
    price: float = 0.0
    state: NodeState = NodeState.UP
    eta: float | None = None
    for_job: str | None = None
    idle_since: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class NodeType:
    """Machines that can be added.

    Attributes:
        zones: where, in order of preference.
        min_count: as many are kept when they are idle.
        max_count: the most at once, in all zones together, booting ones included.
        boot_seconds: from the order to the first worker, usually.
    """

    id: str
    capacity: Resources
    zones: tuple[str, ...] = ("",)
    labels: Mapping[str, str] = field(default_factory=dict)
    market: Market = Market.ON_DEMAND
    price: float = 0.0
    min_count: int = 0
    max_count: int = 0
    boot_seconds: float = 120.0


@dataclass(frozen=True, kw_only=True, slots=True)
class LaunchTrouble:
    """Orders of nodes that failed, one after another without a success in between."""

    type: str
    zone: str
    failures: int
    failed_at: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Queue:
    """A tenant.

    Attributes:
        weight: its part of what is shared.
        quota: what it can always get back from those who borrow it; None: its part of the cluster, by weight.
        limit: the most that it may use.
        user_limit: the most that each of its users may use in it.
    """

    id: str
    weight: int = 1
    quota: Resources | None = None
    limit: Limit = UNLIMITED
    user_limit: Limit = UNLIMITED


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """So many workers on a node."""

    node: str
    workers: int


Placement = tuple[Place, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Allocation:
    """Workers of a job on a node. `leaving` of them will go by themselves: that was ordered."""

    job: str
    node: str
    workers: int
    leaving: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Reservation:
    """Room that was promised to a pending job.

    Attributes:
        start_at: when it is expected to be free.
        firm: somebody was told to go for it, so that nobody else comes first. Others hold only against those
            who stand behind the job.
        since: of a firm one, when it was given. Of others only the first in the queue has it: from when on it
            has been the first.
    """

    job: str
    places: Placement
    start_at: float
    firm: bool = False
    since: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class PolicyState:
    """What a policy remembers.

    Attributes:
        promoted: least attained service: jobs that waited too long → the service up to which they go first.
        admitted: deadlines: jobs whose deadline was promised.
    """

    promoted: Mapping[str, float] = field(default_factory=dict)
    admitted: tuple[str, ...] = ()


NOTHING_REMEMBERED = PolicyState()


@dataclass(frozen=True, kw_only=True, slots=True)
class Snapshot:
    """One moment. The order of the tuples means nothing; ids are unique.

    Attributes:
        jobs: all that are not over.
        nodes: all that are there, or were asked for.
        reservations, policy_state: those of the plan before, as it gave them.
        seed: decides where all else is equal.
    """

    now: float
    jobs: tuple[Job, ...] = ()
    nodes: tuple[Node, ...] = ()
    queues: tuple[Queue, ...] = ()
    allocations: tuple[Allocation, ...] = ()
    reservations: tuple[Reservation, ...] = ()
    node_types: tuple[NodeType, ...] = ()
    launch_troubles: tuple[LaunchTrouble, ...] = ()
    policy_state: PolicyState = NOTHING_REMEMBERED
    seed: int = 0
