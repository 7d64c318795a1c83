"""Whose room a pending job may have: first loans, then the places of jobs that stand behind it.

The set of victims is minimal: as soon as there is enough, it is walked back, and whoever is not needed stays.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from orchestrator.scheduler.at_work import Worker
from orchestrator.scheduler.board import Board
from orchestrator.scheduler.evictions import Evictions, protected_until
from orchestrator.scheduler.lacks import Lack, lack_at_once
from orchestrator.scheduler.placement import enough
from orchestrator.scheduler.reasons import Code, Reason
from orchestrator.scheduler.room import SOON, Ints, Shape, Spots
from orchestrator.scheduler.search import search
from orchestrator.scheduler.snapshot import Job
from orchestrator.scheduler.victims import Victims
from orchestrator.scheduler.walk_back import Found, Gang


@dataclass(slots=True)
class Taking:
    """What others would have to give up for a job.

    Attributes:
        loans: job → workers that go, by node.
        stops: jobs that save and stop.
        slots: (nodes,), how many workers would fit then.
        until: when the last of those to be stopped may be: later than now if one has only just started.
    """

    slots: Ints
    loans: dict[str, Spots] = field(default_factory=dict)
    stops: list[Worker] = field(default_factory=list)
    until: float = 0.0


def cost(board: Board, worker: Worker) -> float:
    """Unit-seconds that are wasted when a job is stopped."""
    job = worker.job
    lost = 0.0
    if job.checkpoint_at is not None:
        begun = job.started_at if job.started_at is not None else board.now
        lost = board.now - max(job.checkpoint_at, begun)
    return (job.restart_cost + max(0.0, lost)) * job.units * worker.count


def find(
    board: Board, job: Job, shape: Shape, victims: Victims, *, own: bool, late: bool
) -> Taking | Sequence[Lack]:
    """The least that others have to give up so that a job fits soon, or why all that they have is too little.

    Args:
        own: it has room that nobody before it had.
        late: it may wait for those who may not be stopped yet.
    """
    room, workers, within, until = board.room, job.min_workers, job.within, board.over_at(job)
    evictions = victims.evictions(job, late=late)
    known = [] if own else evictions.lacks.setdefault((shape.selector, within, board.lifts), [])
    for lack in known:
        if lack.covers(shape, workers, until):
            return (lack,)
    soon = room.free[SOON] + evictions.total
    too_little = lack_at_once(soon, shape, workers, within, room)
    if too_little is not None:
        known.append(too_little)
        return (too_little,)
    end = room.end_row(SOON, job.estimate)
    slots = room.window(shape, SOON, end)
    if enough(slots, workers, within, room):
        return Taking(slots=slots, until=board.now)
    gang = Gang(shape=shape, workers=workers, within=within, end=end, slots=slots)
    found = search(room, gang, evictions, shape.fit(soon) * shape.eligible > slots)
    if isinstance(found, Found):
        return _taking(board, evictions, found)
    known += found
    return found


def _taking(board: Board, evictions: Evictions, found: Found) -> Taking:
    loans = len(evictions.lenders)
    stops = [evictions.stop(step) for step in found.steps if step >= loans]
    lent: dict[str, Spots] = {}
    stopped = {worker.job.id for worker in stops}
    for step in found.steps:
        if step < loans and (id := evictions.lenders[step].job.id) not in stopped:
            spots, node = lent.setdefault(id, {}), int(evictions.node[step])
            spots[node] = spots.get(node, 0) + 1
    until = max((protected_until(board, worker) for worker in stops), default=board.now)
    return Taking(slots=found.slots, loans=lent, stops=stops, until=max(until, board.now))


def carry_out(board: Board, job: Job, taking: Taking, victims: Victims) -> int:
    """Have them go; how many workers leave."""
    leaving = 0
    for id, spots in taking.loans.items():
        board.shrink(board.at_work[id], spots, board.reason(Code.LOAN, job=job.id), job.id)
        leaving += sum(spots.values())
    for worker in taking.stops:
        code = victims.code(job, worker.job)
        facts = {"queue": job.queue, "job": job.id} if code is Code.RECLAIM else {"job": job.id}
        leaving += worker.count
        board.stop(worker, Reason(code=code, facts=dict(facts)), job.id)
    return leaving
