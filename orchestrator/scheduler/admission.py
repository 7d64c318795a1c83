"""One pending job's turn: it starts, others make room for it, it is promised a time, or it waits; and why."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from math import inf

from orchestrator.scheduler.board import Board, Sort
from orchestrator.scheduler.config import Policy
from orchestrator.scheduler.order import can_meet
from orchestrator.scheduler.placement import choose, enough, most
from orchestrator.scheduler.preemption import Taking, carry_out, cost, find
from orchestrator.scheduler.reasons import Code, Reason
from orchestrator.scheduler.room import SOON, Ints, Shape, Spots
from orchestrator.scheduler.snapshot import Job, NodeState, Within
from orchestrator.scheduler.victims import Victims


@dataclass(frozen=True, slots=True)
class Opening:
    """The first row in which a job could start and delay nobody, and how many workers fit on each node."""

    row: int
    slots: Ints


def admit(board: Board, job: Job, victims: Victims) -> None:
    """Decide about a job, given what was decided about those before it."""
    sort = _sort(board, job)
    if sort is not None and (known := board.fates.get(sort)) is not None:
        board.explain[job.id] = known
        return
    if (refused := board.ledger.impossible(job)) is not None:
        board.rejects[job.id] = refused
        return
    own = board.lift(job) is not None
    others_wait = board.first_blocked is not None
    if (limited := board.ledger.blocked(job)) is not None:
        board.explain[job.id] = limited
        return
    kept = board.kept.get(job.id)
    if kept is None:
        _decide(board, job, victims, own)
        if sort is not None and others_wait and _only_waits(board, job):
            board.fates[sort] = board.explain[job.id]
        return
    mine = board.that_are_up(kept)
    board.room.open(mine)
    _decide(board, job, victims, own=True)
    if job.id not in board.at_work:
        board.room.open(mine, closed=True)


def _sort(board: Board, job: Job) -> Sort | None:
    """What it has in common with jobs that fare no better after it; None if it is a case of its own.

    Room only becomes less while a plan is made, and so do victims. So of thousands of jobs that wait for the
    same only the first has to be looked at.
    """
    if board.ahead and board.considered < board.config.reservations_max:
        return None  # it may be promised a time
    if job.within is not Within.ANYWHERE or job.id in board.promises or job.id in board.kept:
        return None
    if not board.ledger.is_unlimited(job.queue):
        return None
    if board.config.policy is Policy.DEADLINE and job.deadline is not None:
        return None
    # Under fair share it matters what its queue uses.
    changes = board.ledger.changes if board.config.policy is Policy.FAIR else 0
    return board.room.shape(job), job.min_workers, job.estimate, job.priority, job.queue, changes


def _only_waits(board: Board, job: Job) -> bool:
    return job.id in board.explain and job.id not in board.promises


def _decide(board: Board, job: Job, victims: Victims, own: bool) -> None:
    """`own`: it has room that nobody before it had, so it does not matter that they did not fit."""
    shape = board.room.shape(job)
    outcome = _start(board, job, shape, own)
    if outcome is _Outcome.STARTED:
        _note_deadline(board, job, board.now)
        return
    if job.id in board.kept and (coming := booting(board, job)) is not None:
        board.explain[job.id] = coming
        _hold_the_rest(board, job)
        return
    if (misfit := board.misfit(job)) is not None:
        board.explain[job.id] = misfit
        return
    taking = _taking(board, job, shape, victims, own)
    opening = _opening(board, job, shape)
    if taking is not None and _is_worth_it(board, job, taking, opening):
        _make_room(board, job, shape, taking, victims)
    elif opening is not None:
        _promise(board, job, shape, opening)
    else:
        board.explain[job.id] = _waits(board, job, shape, outcome)
    if board.first_blocked is None:
        board.first_blocked = job.id


class _Outcome(Enum):
    STARTED = "started"
    NO_ROOM = "no room"
    DELAYS = "there is room, but somebody would wait longer"


def _start(board: Board, job: Job, shape: Shape, own: bool) -> _Outcome:
    """Start a job if it fits and delays nobody who was promised room."""
    until = inf if job.estimate is None else board.now + job.estimate
    failed = board.failed_starts.setdefault((shape, job.within), [])
    if not own:  # room only becomes less: what did not fit before does not fit now
        for workers, time, there in failed:
            if job.min_workers >= workers and until >= time:
                return _Outcome.DELAYS if job.min_workers <= there else _Outcome.NO_ROOM
    slots = board.room.window(shape, 0, board.room.end_row(0, job.estimate))
    spots = choose(slots, job.min_workers, job.within, board.room, shape)
    if spots is not None:
        board.start(job, spots)
        return _Outcome.STARTED
    fit = most(board.room.window(shape, 0, SOON + 1), job.within, board.room)
    if fit < job.min_workers:
        if not own:
            failed.insert(0, (fit + 1, 0.0, fit))
        return _Outcome.NO_ROOM
    if not own:
        failed.append((most(slots, job.within, board.room) + 1, until, fit))
    return _Outcome.DELAYS


def booting(board: Board, job: Job) -> Reason | None:
    """What a job waits for whose nodes are on their way; None if none are."""
    nodes = [board.nodes[number] for number in board.kept.get(job.id, ())]
    coming = [node for node in nodes if node.state is NodeState.BOOTING]
    if not coming:
        return None
    etas = [node.eta for node in coming if node.eta is not None]
    eta = max(etas) if len(etas) == len(coming) else None
    return Reason(code=Code.NODES_BOOTING, facts={"nodes": len(coming)}, eta=eta)


def _hold_the_rest(board: Board, job: Job) -> None:
    """What a gang has of the nodes that are there is kept while the others boot."""
    reservation = board.reserved.get(job.id)
    spots = board.spots(reservation.places) if reservation is not None else None
    if reservation is None or not spots or reservation.firm:
        return
    slots = board.room.window(board.room.shape(job), 0, SOON + 1)
    if all(slots[node] >= workers for node, workers in spots.items()):
        board.promise(job, spots, SOON, start_at=reservation.start_at)


def _taking(board: Board, job: Job, shape: Shape, victims: Victims, own: bool) -> Taking | None:
    rank = (shape, job.within, victims.rank(job))
    if not own and job.min_workers >= board.failed_takes.get(rank, job.min_workers + 1):
        return None
    found = find(board, job, shape, board.room.end_row(SOON, job.estimate), victims)
    if isinstance(found, Taking):
        return found
    if not own:
        board.failed_takes[rank] = found + 1
    return None


def _opening(board: Board, job: Job, shape: Shape) -> Opening | None:
    """For those at the head of the queue only: looking ahead is what costs time."""
    if not board.ahead or board.considered >= board.config.reservations_max:
        return None
    board.considered += 1
    totals = board.room.slots(shape).sum(axis=1).tolist()
    for row in range(SOON, len(totals)):
        end = board.room.end_row(row, job.estimate)
        if min(totals[row:end]) < job.min_workers:
            continue
        slots = board.room.window(shape, row, end)
        if enough(slots, job.min_workers, job.within, board.room):
            return Opening(row=row, slots=slots)
    return None


def _is_worth_it(board: Board, job: Job, taking: Taking, opening: Opening | None) -> bool:
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


def _make_room(board: Board, job: Job, shape: Shape, taking: Taking, victims: Victims) -> None:
    """Have others go, and keep what they leave; or keep it until they may go."""
    spots = choose(taking.slots, job.min_workers, job.within, board.room, shape)
    if spots is None:
        raise AssertionError(f"there is room for {job.id}, and nowhere")
    if taking.until > board.now:
        board.promise(job, spots, SOON, start_at=taking.until)
        board.wakes.append(taking.until)
        board.explain[job.id] = Reason(code=Code.PROTECTED, facts={"until": taking.until}, eta=taking.until)
    else:
        leaving = carry_out(board, job, taking, victims)
        leaving += board.leaving_on(spots)
        board.promise(job, spots, SOON, firm=True)
        board.explain[job.id] = Reason(code=Code.MAKING_ROOM, facts={"leaving": leaving})
    _note_deadline(board, job, taking.until)


def _promise(board: Board, job: Job, shape: Shape, opening: Opening) -> None:
    spots = choose(opening.slots, job.min_workers, job.within, board.room, shape)
    if spots is None:
        raise AssertionError(f"there is room for {job.id}, and nowhere")
    start = board.room.times[opening.row]
    firm = opening.row == SOON
    board.promise(job, spots, opening.row, firm=firm)
    eta = _eta(board, spots, start)
    board.explain[job.id] = Reason(code=Code.PROMISED, facts={"nodes": len(spots)}, eta=eta)
    board.wakes.append(start)
    _note_deadline(board, job, start if eta is None else eta)


def _eta(board: Board, spots: Spots, start: float) -> float | None:
    """When it starts, unless that is a guess."""
    return None if any(board.guessed.get(node, inf) <= start for node in spots) else start


def _note_deadline(board: Board, job: Job, start_at: float) -> None:
    """A deadline that can be met is promised; one that cannot is the reason that people want to hear."""
    if board.config.policy is not Policy.DEADLINE or job.deadline is None or job.estimate is None:
        return
    if can_meet(job, start_at):
        board.admitted.add(job.id)
    elif job.id in board.explain:
        reason = board.explain[job.id]
        earliest = {"earliest": start_at + job.estimate}
        board.explain[job.id] = replace(reason, code=Code.DEADLINE, facts=earliest)


def _waits(board: Board, job: Job, shape: Shape, outcome: _Outcome) -> Reason:
    first = board.first_blocked
    if first is not None:
        return board.reason(Code.WOULD_DELAY if outcome is _Outcome.DELAYS else Code.BEHIND, first=first)
    free = int(board.room.window(shape, 0, SOON + 1).sum())
    missing = max(1, job.min_workers - free)
    return board.reason(Code.NO_ROOM, needed=job.min_workers, free=free, missing=missing)
