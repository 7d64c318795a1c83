"""Promises of earlier plans: what holds, and for whom the time has come."""

from __future__ import annotations

from collections.abc import Iterable

from orchestrator.scheduler.board import Board
from orchestrator.scheduler.booting import booting
from orchestrator.scheduler.config import Policy
from orchestrator.scheduler.reasons import Code
from orchestrator.scheduler.room import SOON
from orchestrator.scheduler.snapshot import Job

#: Policies under which nobody comes before a job whose promise stands but those who stood before it already.
_KEEPING = (Policy.PRIORITY, Policy.DEADLINE)


def claim(board: Board, order: Iterable[Job]) -> None:
    """Firm promises come before everything else: others were told to go for them.

    Such a job starts when its room is free, and waits while somebody is leaving it. If neither is so, a node
    is gone or somebody did not leave, and the promise is void: the job takes its turn like anybody else.
    """
    firm = [job for job in order if job.id in board.reserved and board.reserved[job.id].firm]
    # The first to leave do so for the first who was promised: nobody later takes that and has him wait.
    firm.sort(key=lambda job: board.reserved[job.id].since or 0.0)
    for job in firm:
        spots = board.spots(board.reserved[job.id].places)
        fits = spots is not None and sum(spots.values()) == job.min_workers and not board.misfit(job)
        if (
            spots is not None
            and fits
            and board.ledger.impossible(job) is None
            and not board.ledger.blocked(job)
        ):
            board.promise(job, spots, SOON, firm=True)
    for job in firm:
        promise = board.lift(job)
        if promise is None:
            continue
        shape, spots = promise.shape, promise.spots
        slots = board.room.slots(shape)
        if all(slots[0, node] >= n <= slots[SOON, node] for node, n in spots.items()):
            board.start(job, spots)
        elif all(slots[SOON, node] >= n for node, n in spots.items()):
            board.promise(job, spots, SOON, firm=True)
            board.explain[job.id] = board.reason(Code.MAKING_ROOM, leaving=board.leaving_on(spots))


def keep(board: Board, order: Iterable[Job]) -> None:
    """Lay out what was promised to the head of the queue, down to the first who was promised nothing.

    So a job that could start earlier on other nodes does not do so at the cost of those behind it (the
    compression
    of conservative backfilling: Mu'alem and Feitelson, IEEE TPDS 2001).
    """
    if board.config.policy not in _KEEPING:
        return
    for job in order:
        if job.id in board.promises or job.id in board.at_work:
            continue
        if board.ledger.impossible(job) is not None or board.misfit(job) is not None:
            continue
        reservation = board.reserved.get(job.id)
        if reservation is None:
            if booting(board, job) is not None:
                continue
            return
        spots = board.spots(reservation.places)
        if spots is not None and sum(spots.values()) == job.min_workers and not reservation.firm:
            row = max(SOON, board.room.row_of(reservation.start_at))
            if row >= len(board.room.times):
                return
            slots = board.room.window(board.room.shape(job), row, board.room.end_row(row, job.estimate))
            if any(slots[node] < workers for node, workers in spots.items()):
                return  # somebody is late: from here on all are promised anew, in order
            board.promise(job, spots, row, start_at=reservation.start_at)
