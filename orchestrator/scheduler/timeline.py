"""When running jobs end, as far as that is known, and the room that follows from it."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import inf

import numpy as np

from orchestrator.scheduler.room import SOON, Room, Spots
from orchestrator.scheduler.snapshot import Job, JobState, Node, NodeState, Snapshot

#: Rows that ends of running jobs may fill; promises need some more.
_ENDS_MAX = 40
#: A job without an estimate, or beyond it, is taken to go on for as long as it has been running: of
#: heavy-tailed run times, which those of training jobs are, that is about the median. At least this many
#: seconds.
_GUESS_SECONDS_MIN = 600.0


@dataclass(slots=True)
class Holding:
    """What a job that is at work has, by the nodes' numbers.

    Attributes:
        spots: workers that stay.
        lent: which of these are beyond its minimum.
        leaving: workers that go by themselves.
        end: when it is expected to be over; `known` if that follows from its estimate.
    """

    job: Job
    spots: Spots
    lent: Spots
    leaving: Spots
    end: float
    known: bool

    @property
    def workers(self) -> int:
        """Those that stay."""
        return sum(self.spots.values())


def service(job: Job, workers: int, now: float) -> float:
    """Unit-seconds that a job has had until now, if it has so many workers."""
    if job.state is not JobState.RUNNING:
        return job.attained_service
    return job.attained_service + (now - job.last_change_at) * job.units * workers


def expected_end(job: Job, workers: int, now: float, promised: float = inf) -> tuple[float, bool]:
    """When a job at work is over, and whether that is more than a guess. Counts on its minimum of workers.

    Args:
        promised: since when somebody has been the first that waits. Who started later was let in, as it did
            not matter if he never ends: a guess that he does would let in the next, and so on for ever.
    """
    if job.estimate is not None:
        pace = job.units * job.min_workers
        if pace > 0:
            left = job.estimate - service(job, workers, now) / pace
        else:
            left = job.estimate - (now - (job.started_at if job.started_at is not None else now))
        if left > 0:
            return now + left, True
    begun = job.started_at if job.started_at is not None else now
    return (inf if begun > promised else now + max(_GUESS_SECONDS_MIN, now - begun)), False


def holdings(snapshot: Snapshot, numbers: Mapping[str, int], *, ahead: bool) -> dict[str, Holding]:
    """Who is at work where. Allocations on nodes that are gone are gone.

    Args:
        numbers: of the nodes, by id.
        ahead: say when they are expected to be over; for ever, if not.
    """
    jobs = {job.id: job for job in snapshot.jobs if job.state is not JobState.PENDING}
    stay: dict[str, Spots] = {id: {} for id in jobs}
    leaving: dict[str, Spots] = {}
    for allocation in snapshot.allocations:
        job, node = jobs.get(allocation.job), numbers.get(allocation.node)
        if job is None or node is None:
            continue
        goes = allocation.workers if job.state is JobState.STOPPING else allocation.leaving
        if goes:
            spots = leaving.setdefault(job.id, {})
            spots[node] = spots.get(node, 0) + goes
        if allocation.workers > goes:
            spots = stay[job.id]
            spots[node] = spots.get(node, 0) + allocation.workers - goes
    heads = {r.job: r.since for r in snapshot.reservations if r.since is not None and not r.firm}
    waiting = (job.id for job in snapshot.jobs if job.state is JobState.PENDING and job.id in heads)
    promised = min((heads[id] for id in waiting), default=inf)
    found = {}
    for id, job in jobs.items():
        spots, end, known = stay[id], inf, True
        workers = sum(spots.values())
        if ahead:
            end, known = expected_end(job, workers, snapshot.now, promised)
        lent = loan(spots, job.min_workers) if workers > job.min_workers else {}
        found[id] = Holding(job, spots, lent, leaving.get(id, {}), end, known)
    return found


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


def build(
    nodes: Sequence[Node], held: Iterable[Holding], others: Iterable[float], now: float, *, ahead: bool
) -> Room:
    """The room, as it is and as it will be.

    Args:
        others: more moments at which something changes.
        ahead: with rows for later than soon.
    """
    held = list(held)
    etas = [node.eta for node in nodes if node.state is NodeState.BOOTING and node.eta is not None]
    ends = (holding.end for holding in held)
    times = [now, now, *(_thinned({*ends, *etas, *others}, now) if ahead else ())]
    change = np.zeros((len(times) + 1, len(nodes), 3), dtype=np.int64)
    for number, machine in enumerate(nodes):
        if machine.state is NodeState.UP:
            change[0, number] = machine.capacity.amounts
        elif machine.state is NodeState.BOOTING and ahead and machine.eta is not None:
            change[_row(times, machine.eta), number] = machine.capacity.amounts
    requests, rows, where, counts, whose = [], [], [], [], []
    first_end = min(SOON + 1, len(times))
    for number, holding in enumerate(held):
        requests.append(holding.job.request.amounts)
        lent = holding.lent if ahead else {}
        ends_at = bisect_left(times, holding.end, lo=first_end) if ahead else len(times)
        for node, workers in holding.spots.items():
            rows.append(ends_at)
            where.append(node)
            counts.append(workers - lent[node] if node in lent else workers)
            whose.append(number)
        if not lent and not holding.leaving:
            continue
        for spots, row in ((holding.leaving, SOON), (lent, SOON + 1)):
            for node, workers in spots.items():
                rows.append(row)
                where.append(node)
                counts.append(workers)
                whose.append(number)
    if rows:
        amounts = np.array(requests, dtype=np.int64)[whose] * np.array(counts, dtype=np.int64)[:, None]
        np.subtract.at(change, (0, where), amounts)
        np.add.at(change, (rows, where), amounts)
    free = np.cumsum(change[:-1], axis=0)
    unusable = [number for number, node in enumerate(nodes) if node.state is not NodeState.UP]
    if unusable:
        free[:, unusable] = np.maximum(free[:, unusable], 0)  # who is still there holds nothing that counts
    return Room(nodes, times, free)


def _row(times: Sequence[float], time: float) -> int:
    """The first row after "soon" that does not begin before this time."""
    return bisect_left(times, time, lo=min(SOON + 1, len(times)))


def _thinned(moments: set[float], now: float) -> list[float]:
    """At most so many of these moments, the last among them. Ends between two count as the later one's."""
    later = sorted(moment for moment in moments if now < moment < inf)
    if len(later) <= _ENDS_MAX:
        return later
    picks = [(number + 1) * len(later) // _ENDS_MAX - 1 for number in range(_ENDS_MAX)]
    return [later[pick] for pick in picks]
