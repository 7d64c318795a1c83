"""What the people who run a cluster decide about its scheduler."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Policy(StrEnum):
    """Who comes first, who gives way, who grows: see docs/scheduler.md."""

    PRIORITY = "priority"
    FAIR = "fair"
    SERVICE = "service"
    ELASTIC = "elastic"
    DEADLINE = "deadline"


class QueueOrder(StrEnum):
    """Who comes first within a queue, under fair share."""

    SUBMISSION = "submission"  # aged by priority
    SERVICE = "service"  # who has had least, in levels: as Policy.SERVICE


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Defaults are meant to be left alone.

    Attributes:
        queue_order: within each queue (`FAIR`); the other policies have orders of their own.
        ageing: seconds of waiting that are worth as much as one point of priority.
        preemption: jobs may be stopped for others; taking loans back is not stopping.
        protect_restarts: a job runs for at least this many times its restart cost before it is stopped, so
            restarts waste at most 1 / (1 + protect_restarts) of the cluster.
        reservations_max: jobs at the head of the queue that are promised a start.
        resize_every: seconds between two changes of a job's size that nobody but the job gains by.
        service_levels: unit-seconds at which a job falls to the next level, where the order is by service.
        promote_after: seconds of waiting after which a job goes first, whatever it has had.
        patience: the deadline of a job that has none, in seconds from its submission (`DEADLINE`).
        scale_nodes: nodes are added and removed.
        launch_attempts_max: failures of a type in a zone after which it is left alone for launch_forget
            seconds.
        launch_backoff: seconds until the second attempt; doubles with each.
        idle_seconds: a node that was empty so long goes.
        launches_max: gangs for which nodes are added in one plan.
        takings_max: jobs for which others are told to leave in one plan. There it ends, and asks for the next
            at once: so no plan takes long, however much is wrong.
        patient_max: jobs that wait for others who have only just started and may not be stopped yet. Those
            behind them ask again when they may.
    """

    policy: Policy = Policy.PRIORITY
    queue_order: QueueOrder = QueueOrder.SUBMISSION
    ageing: float = 3600.0
    preemption: bool = True
    protect_restarts: float = 10.0
    reservations_max: int = 32
    resize_every: float = 60.0
    service_levels: tuple[float, ...] = (3600.0, 28_800.0, 230_400.0, 1_843_200.0)
    promote_after: float = 86400.0
    patience: float = 86400.0
    scale_nodes: bool = True
    launch_attempts_max: int = 5
    launch_backoff: float = 30.0
    launch_forget: float = 3600.0
    idle_seconds: float = 300.0
    launches_max: int = 16
    takings_max: int = 32
    patient_max: int = 8

    @property
    def promotes(self) -> bool:
        """Whether jobs that waited too long go first."""
        return self.policy is Policy.FAIR or self.by_service

    @property
    def by_service(self) -> bool:
        """Whether it matters what jobs have had so far."""
        if self.policy is Policy.FAIR:
            return self.queue_order is QueueOrder.SERVICE
        return self.policy in (Policy.SERVICE, Policy.ELASTIC)
