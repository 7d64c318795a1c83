"""Whose room a pending job may have: first loans, then the places of jobs that stand behind it.

The set of victims is minimal: as soon as there is enough, it is walked back, and whoever is not needed stays.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from orchestrator.scheduler.at_work import Worker
from orchestrator.scheduler.board import Board
from orchestrator.scheduler.evictions import Evictions, protected_until
from orchestrator.scheduler.placement import enough, most
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


@dataclass(frozen=True, slots=True)
class TooLittle:
    """Not even all that others have is enough. So many workers would fit; `always`: of shorter jobs too."""

    workers: int
    always: bool


def cost(board: Board, worker: Worker) -> float:
    """Unit-seconds that are wasted when a job is stopped."""
    job = worker.job
    lost = 0.0
    if job.checkpoint_at is not None:
        begun = job.started_at if job.started_at is not None else board.now
        lost = board.now - max(job.checkpoint_at, begun)
    return (job.restart_cost + max(0.0, lost)) * job.units * worker.count


def find(
    board: Board, job: Job, shape: Shape, end: int, victims: Victims, *, own: bool, late: bool
) -> Taking | TooLittle:
    """The least that others have to give up so that a job fits soon, if they can give up enough.

    Args:
        end: the row before which the job is over.
        own: it has room that nobody before it had.
        late: it may wait for those who may not be stopped yet.
    """
    evictions, asked = victims.evictions(job, late=late), (shape, job.within, board.lifts)
    known = job.min_workers + 1 if own else evictions.too_little.get(asked, job.min_workers + 1)
    if job.min_workers >= known:
        return TooLittle(workers=known - 1, always=True)
    slots = board.room.window(shape, SOON, end)
    if enough(slots, job.min_workers, job.within, board.room):
        return Taking(slots=slots, until=board.now)
    soon = shape.fit(board.room.free[SOON] + evictions.total) * shape.eligible
    reach = most(soon, job.within, board.room)
    if reach < job.min_workers:
        if not own:
            evictions.too_little[asked] = reach + 1
        return TooLittle(workers=reach, always=True)
    gang = Gang(shape=shape, workers=job.min_workers, within=job.within, end=end, slots=slots)
    found = search(board.room, gang, evictions, soon > slots)
    if isinstance(found, int):
        return TooLittle(workers=found, always=end == SOON + 1)
    return _taking(board, evictions, found)


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
