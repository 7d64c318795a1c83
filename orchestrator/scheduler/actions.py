"""What the scheduler decides: actions, each with a reason, and why everybody else waits.

Actions say the state that should be, not a difference, so to carry one out twice does no harm. Those about a
job carry the version of the job that they were decided on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import Field

from orchestrator.scheduler.reasons import Reason
from orchestrator.scheduler.snapshot import NOTHING_REMEMBERED, Placement, PolicyState, Reservation


@dataclass(frozen=True, kw_only=True, slots=True)
class Start:
    """Start all these workers, or none."""

    job: str
    version: int
    placement: Placement
    kind: Literal["start"] = "start"


@dataclass(frozen=True, kw_only=True, slots=True)
class Resize:
    """These are the workers that a running job should have, and where; for_job: who gets what it gives up."""

    job: str
    version: int
    placement: Placement
    reason: Reason
    for_job: str | None = None
    kind: Literal["resize"] = "resize"


@dataclass(frozen=True, kw_only=True, slots=True)
class Preempt:
    """Have a running job save and stop; it is pending then. for_job: who gets its place."""

    job: str
    version: int
    reason: Reason
    for_job: str | None = None
    kind: Literal["preempt"] = "preempt"


@dataclass(frozen=True, kw_only=True, slots=True)
class Reserve:
    """Keep room for a pending job. A plan's reservations replace all those before it."""

    version: int
    reservation: Reservation
    kind: Literal["reserve"] = "reserve"


@dataclass(frozen=True, kw_only=True, slots=True)
class AddNodes:
    """Add nodes for a gang, all or none; they carry `for_job`."""

    type: str
    zone: str
    count: int
    for_job: str
    reason: Reason
    kind: Literal["add_nodes"] = "add_nodes"


@dataclass(frozen=True, kw_only=True, slots=True)
class DrainNode:
    """Remove a node that is empty."""

    node: str
    reason: Reason
    kind: Literal["drain_node"] = "drain_node"


@dataclass(frozen=True, kw_only=True, slots=True)
class Reject:
    """Never start this job: it could not run on any cluster, as its queue is set up."""

    job: str
    version: int
    reason: Reason
    kind: Literal["reject"] = "reject"


Action = Annotated[
    Start | Resize | Preempt | Reserve | AddNodes | DrainNode | Reject, Field(discriminator="kind")
]


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """One cycle's decisions.

    Attributes:
        actions: to be carried out in this order.
        explain: for each job that is pending and neither starts nor is rejected, in queue order.
        policy_state: for the next snapshot.
        next_wake_at: when to plan again at the latest, though nothing happened; None for never.
    """

    actions: tuple[Action, ...] = ()
    explain: Mapping[str, Reason] = field(default_factory=dict)
    policy_state: PolicyState = NOTHING_REMEMBERED
    next_wake_at: float | None = None

    @property
    def reservations(self) -> tuple[Reservation, ...]:
        """For the next snapshot."""
        return tuple(action.reservation for action in self.actions if isinstance(action, Reserve))
