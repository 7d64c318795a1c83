"""Who is at work where, and until when, as far as that is known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf

from orchestrator.scheduler.reasons import Reason
from orchestrator.scheduler.room import Spots
from orchestrator.scheduler.snapshot import Job, JobState, Snapshot

#: A job without an estimate, or beyond it, is taken to go on for as long as it has been running: of
#: heavy-tailed run times, which those of training jobs are, that is about the median. At least this many
#: seconds.
_GUESS_SECONDS_MIN = 600.0


@dataclass(slots=True, eq=False)
class Worker:
    """A job at work, or one that this plan starts. Nodes are given by their numbers.

    Attributes:
        spots: what it should have after this plan.
        end: when it is expected to be over: the time of the row from which its room counts as free.
        known: whether that follows from its estimate.
        count: of its workers, in all spots.
        served: unit-seconds that it has had until now.
        lent: which of its workers are beyond its minimum; these count as free in rows after "soon".
        leaving: workers that go by themselves: that was ordered before.
        why, for_job: of its resize, if it is resized.
        starts: in this plan.
        moved: its size was changed in this plan; grew: it needs more room somewhere.
    """

    job: Job
    spots: Spots
    end: float
    known: bool
    count: int = 0
    served: float = 0.0
    lent: Spots = field(default_factory=dict)
    leaving: Spots = field(default_factory=dict)
    starts: bool = False
    moved: bool = False
    grew: bool = False
    why: Reason | None = None
    for_job: str | None = None

    @property
    def on_loan(self) -> int:
        """Workers beyond its minimum."""
        return max(0, self.count - self.job.min_workers)


def service(job: Job, workers: int, now: float) -> float:
    """Unit-seconds that a job has had until now, if it has so many workers."""
    if job.state is not JobState.RUNNING:
        return job.attained_service
    return job.attained_service + (now - job.last_change_at) * job.units * workers


def expected_end(job: Job, served: float, now: float, promised: float = inf) -> tuple[float, bool]:
    """When a job at work is over, and whether that is more than a guess. Counts on its minimum of workers.

    Args:
        served: unit-seconds that it has had.
        promised: since when somebody has been the first that waits. Who started later was let in, as it did
            not matter if he never ends: a guess that he does would let in the next, and so on for ever.
    """
    if job.estimate is not None:
        pace = job.units * job.min_workers
        if pace > 0:
            left = job.estimate - served / pace
        else:
            left = job.estimate - (now - (job.started_at if job.started_at is not None else now))
        if left > 0:
            return now + left, True
    begun = job.started_at if job.started_at is not None else now
    return (inf if begun > promised else now + max(_GUESS_SECONDS_MIN, now - begun)), False


def at_work(snapshot: Snapshot, numbers: Mapping[str, int], *, ahead: bool) -> dict[str, Worker]:
    """Those who have started and are not over, by job; those who were told to stop have no spots.

    Allocations on nodes that are gone are gone.

    Args:
        numbers: of the nodes, by id.
        ahead: say when they are expected to be over; for ever, if not.
    """
    pending, stopping = JobState.PENDING, JobState.STOPPING
    found = {job.id: Worker(job, {}, inf, True) for job in snapshot.jobs if job.state is not pending}
    for allocation in snapshot.allocations:
        worker, node = found.get(allocation.job), numbers.get(allocation.node)
        if worker is None or node is None:
            continue
        stays, goes = allocation.workers - allocation.leaving, allocation.leaving
        if worker.job.state is stopping:
            stays, goes = 0, allocation.workers
        if stays > 0:
            worker.count += stays
            worker.spots[node] = worker.spots.get(node, 0) + stays
        if goes:
            worker.leaving[node] = worker.leaving.get(node, 0) + goes
    promised = _promised_since(snapshot) if ahead else inf
    for worker in found.values():
        job, workers = worker.job, worker.count
        worker.served = service(job, workers, snapshot.now)
        if ahead:
            worker.end, worker.known = expected_end(job, worker.served, snapshot.now, promised)
        if workers > job.min_workers:
            worker.lent = loan(worker.spots, job.min_workers)
    return found


def _promised_since(snapshot: Snapshot) -> float:
    """Since when somebody has been the first that waits."""
    heads = {r.job: r.since for r in snapshot.reservations if r.since is not None and not r.firm}
    if not heads:
        return inf
    waiting = (job.id for job in snapshot.jobs if job.state is JobState.PENDING and job.id in heads)
    return min((heads[id] for id in waiting), default=inf)


def loan(spots: Spots, workers: int) -> Spots:
    """Which workers go first, of a job that could do with so many: those with the fewest on their node."""
    over = sum(spots.values()) - workers
    given: Spots = {}
    if over <= 0:
        return given
    for node in sorted(spots, key=lambda node: (spots[node], -node)):
        if over <= 0:
            break
        given[node] = min(over, spots[node])
        over -= given[node]
    return given
