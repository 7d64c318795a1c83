"""When a job that has to wait can start, and the promise that it will."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import inf

from orchestrator.scheduler.board import Board
from orchestrator.scheduler.config import Policy
from orchestrator.scheduler.order import can_meet
from orchestrator.scheduler.placement import choose, enough
from orchestrator.scheduler.preemption import Taking, cost
from orchestrator.scheduler.reasons import Code, Reason
from orchestrator.scheduler.room import SOON, Ints, Shape, Spots
from orchestrator.scheduler.snapshot import Job


@dataclass(frozen=True, slots=True)
class Opening:
    """The first row in which a job could start and delay nobody, and how many workers fit on each node."""

    row: int
    slots: Ints


def find_opening(board: Board, job: Job, shape: Shape) -> Opening | None:
    """For those at the head of the queue only: looking ahead is what costs time."""
    if not board.ahead or board.considered >= board.config.reservations_max:
        return None
    board.considered += 1
    totals = board.room.slots(shape).sum(axis=1).tolist()
    least, row = job.min_workers, SOON
    while row < len(totals):
        end = board.room.end_row(row, job.estimate)
        short = next((r for r in range(end - 1, row - 1, -1) if totals[r] < least), None)
        if short is not None:
            row = short + 1  # whoever begins before meets that row, too
            continue
        slots = board.room.window(shape, row, end)
        if enough(slots, least, job.within, board.room):
            return Opening(row=row, slots=slots)
        row += 1
    return None


def is_worth_it(board: Board, job: Job, taking: Taking, opening: Opening | None) -> bool:
    """Whether stopping others gains more than it wastes."""
    if not taking.stops:
        return True
    waits = inf if opening is None else board.room.times[opening.row] - board.now
    if board.config.policy is Policy.DEADLINE:
        in_time = opening is not None and can_meet(job, board.now + waits)
        return not in_time and job.estimate is not None and can_meet(job, taking.until)
    if board.now + waits <= taking.until:
        return False
    gained = (waits - (taking.until - board.now)) * job.units * job.min_workers
    return gained > sum(cost(board, worker) for worker in taking.stops) or gained == inf


def promise(board: Board, job: Job, shape: Shape, opening: Opening) -> None:
    """Room from then on is for it."""
    spots = choose(opening.slots, job.min_workers, job.within, board.room, shape)
    if spots is None:
        raise AssertionError(f"there is room for {job.id}, and nowhere")
    start = board.room.times[opening.row]
    firm = opening.row == SOON
    board.promise(job, spots, opening.row, firm=firm)
    eta = _eta(board, spots, start)
    board.explain[job.id] = Reason(code=Code.PROMISED, facts={"nodes": len(spots)}, eta=eta)
    board.wakes.append(start)
    note_deadline(board, job, start if eta is None else eta)


def _eta(board: Board, spots: Spots, start: float) -> float | None:
    """When it starts, unless that is a guess."""
    return None if any(board.guessed.get(node, inf) <= start for node in spots) else start


def note_deadline(board: Board, job: Job, start_at: float) -> None:
    """A deadline that can be met is promised; one that cannot is the reason that people want to hear."""
    if board.config.policy is not Policy.DEADLINE or job.deadline is None or job.estimate is None:
        return
    if can_meet(job, start_at):
        board.admitted.add(job.id)
    elif job.id in board.explain:
        reason = board.explain[job.id]
        earliest = {"earliest": start_at + job.estimate}
        board.explain[job.id] = replace(reason, code=Code.DEADLINE, facts=earliest)
