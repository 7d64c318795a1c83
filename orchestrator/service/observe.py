"""Records and nodes → what the scheduler sees, and what it decides → words for the record. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from orchestrator.records.facts import JobState
from orchestrator.scheduler.reasons import Reason
from orchestrator.scheduler.snapshot import (
    Allocation,
    Job,
    Limit,
    Node,
    NodeState,
    Placement,
    PolicyState,
    Queue,
    Reservation,
    Resources,
    Snapshot,
    Within,
)
from orchestrator.scheduler.snapshot import JobState as Scheduled
from orchestrator.service.executor import ClusterNode
from orchestrator.spec.fields import seconds
from orchestrator.store.records import AllocationRecord, JobRecord, QueueRecord

#: How the scheduler calls what we call otherwise. Whoever is paused or over is not its affair.
STATES: Mapping[JobState, Scheduled] = {
    JobState.QUEUED: Scheduled.PENDING,
    JobState.STARTING: Scheduled.STARTING,
    JobState.RUNNING: Scheduled.RUNNING,
    JobState.STOPPING: Scheduled.STOPPING,
}
#: What a stop and a new start waste: processes start, import and build, and the state is read.
RESTART_SECONDS = 15.0
#: A job that has fewer workers than it is entitled to need not have been left alone for a while first.
_LONG_AGO = 86_400.0


def job_of(record: JobRecord, workers: int) -> Job:
    """A job that waits or is at work, as the scheduler sees it.

    Args:
        record: in one of `STATES`.
        workers: how many it has now, those that leave not counted.

    One at work that has fewer workers than its minimum, since a node is gone or its owner wants more of them,
    goes on with those that it has, and gets more as soon as nobody else needs the room.
    """
    spec = record.submission.spec
    each: Mapping[str, Any] = spec.get("workers") or {}
    wanted: Mapping[str, Any] = spec.get("schedule") or {}
    deadline = _seconds(wanted.get("deadline"))
    saves = bool((spec.get("checkpoint") or {}).get("uri"))
    job = Job(
        id=record.id,
        queue=record.submission.queue,
        user=record.submission.user,
        priority=record.submission.priority,
        submitted_at=record.submitted_at,
        version=record.version,
        request=request_of(each),
        min_workers=record.min_workers,
        max_workers=record.max_workers,
        selector=wanted.get("nodes") or {},
        within=Within(wanted.get("within") or Within.ANYWHERE),
        preemptible=wanted.get("preemptible", True),
        min_runtime=_seconds(wanted.get("min_runtime")) or 0.0,
        deadline=None if deadline is None else record.submitted_at + deadline,
        estimate=_seconds(wanted.get("estimate")),
        checkpoint_at=None if saves else record.started_at,
        restart_cost=RESTART_SECONDS,
        state=STATES[record.state],
        attained_service=record.attained_service,
        restarts=max(0, record.attempt - 1),
        last_change_at=record.last_change_at,
        started_at=record.started_at,
    )
    if record.state is not JobState.RUNNING or workers >= job.min_workers or not workers:
        return job
    return replace(
        job,
        min_workers=workers,
        last_change_at=job.last_change_at - _LONG_AGO,
        attained_service=job.attained_service - _LONG_AGO * job.units * workers,
    )


def _seconds(time: str | None) -> float | None:
    return None if time is None else seconds(time)


def request_of(each: Mapping[str, Any]) -> Resources:
    """The `workers` section of a job file → what one worker needs."""
    cpus, gpus = each.get("cpus", 1.0), each.get("gpus", 0.0)
    return Resources(cpu_millis=round(1000 * cpus), gpu_millis=round(1000 * gpus))


def service_of(record: JobRecord, workers: int, now: float) -> float:
    """What a job has had until now, if it has had so many workers since it changed last; see `Job`."""
    job = job_of(record, workers) if record.state in STATES else None
    if job is None or record.state is not JobState.RUNNING:
        return record.attained_service
    return record.attained_service + max(0.0, now - record.last_change_at) * job.units * workers


def snapshot_of(
    *,
    now: float,
    jobs: Iterable[Job],
    nodes: Sequence[ClusterNode],
    draining: Mapping[str, float],
    queues: Iterable[QueueRecord],
    allocations: Iterable[AllocationRecord],
    reservations: Sequence[Reservation],
    policy_state: PolicyState,
) -> Snapshot:
    """One moment.

    Args:
        jobs: those that wait or are at work.
        draining: nodes that go away → when.
    """
    return Snapshot(
        now=now,
        jobs=tuple(jobs),
        nodes=tuple(_node(node, draining) for node in nodes),
        queues=tuple(map(queue_of, queues)),
        allocations=tuple(
            Allocation(job=row.job, node=row.node, workers=row.workers, leaving=row.leaving)
            for row in allocations
        ),
        reservations=tuple(reservations),
        policy_state=policy_state,
    )


def queue_of(record: QueueRecord) -> Queue:
    """A tenant."""
    return Queue(
        id=record.id,
        weight=record.weight,
        quota=Resources(**record.quota) if record.quota is not None else None,
        limit=Limit(**record.limit),
        user_limit=Limit(**record.user_limit),
    )


def _node(node: ClusterNode, draining: Mapping[str, float]) -> Node:
    state = NodeState.DRAINING if node.id in draining else NodeState.UP
    return Node(
        id=node.id,
        capacity=node.capacity,
        zone=node.zone,
        labels=node.labels,
        state=state,
        eta=draining.get(node.id),
    )


def places_of(placement: Placement) -> dict[str, int]:
    """Node → workers."""
    found: dict[str, int] = {}
    for place in placement:
        found[place.node] = found.get(place.node, 0) + place.workers
    return found


def staying(rows: Iterable[AllocationRecord]) -> dict[str, int]:
    """Node → workers that should be there, of one job's allocation."""
    return {row.node: row.workers - row.leaving for row in rows if row.workers > row.leaving}


def having(places: Mapping[str, int], there: Mapping[str, int]) -> tuple[dict[str, int], dict[str, int]]:
    """The allocation of a job that should have these places, and has, or may have, workers there.

    Returns:
        node → all workers, and node → how many of them leave.
    """
    workers = {node: max(places.get(node, 0), there.get(node, 0)) for node in sorted({*places, *there})}
    leaving = {node: count - places.get(node, 0) for node, count in workers.items()}
    return (
        {node: count for node, count in workers.items() if count},
        {node: count for node, count in leaving.items() if count},
    )


def fewer(places: Mapping[str, int], count: int) -> dict[str, int]:
    """So many of these workers: those with the fewest beside them go first."""
    left, over = dict(places), sum(places.values()) - count
    for node in sorted(places, key=lambda node: (places[node], node)):
        gone = min(max(0, over), left[node])
        left[node] -= gone
        over -= gone
    return {node: workers for node, workers in left.items() if workers}


def explanation(reason: Reason) -> dict[str, Any]:
    """Why a job waits, as its record keeps it."""
    return {
        "code": reason.code.value,
        "sentence": reason.sentence,
        "facts": dict(reason.facts),
        "remedy": reason.remedy,
        "eta": None if reason.eta is None else float(round(reason.eta)),
    }
