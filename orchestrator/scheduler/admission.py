"""One pending job's turn: it starts, others make room for it, it is promised a time, or it waits; and why."""

from __future__ import annotations

from math import inf

from orchestrator.scheduler.board import Board
from orchestrator.scheduler.booting import booting, hold_the_rest
from orchestrator.scheduler.config import Policy
from orchestrator.scheduler.openings import find_opening, is_worth_it, note_deadline, promise
from orchestrator.scheduler.placement import choose, most
from orchestrator.scheduler.preemption import Taking, carry_out, find
from orchestrator.scheduler.reasons import Code, Reason
from orchestrator.scheduler.refusals import Alike, AllRefusals, Outcome, Refusals
from orchestrator.scheduler.room import SOON, Shape
from orchestrator.scheduler.snapshot import Job
from orchestrator.scheduler.victims import Victims


class Admission:
    """Decides about jobs in turn, each given what was decided about those before it.

    Attributes:
        is_over: all who follow have to wait for the next plan: others have been told to leave for many.
    """

    def __init__(self, board: Board, victims: Victims) -> None:
        self._board, self._victims = board, victims
        self._refusals = AllRefusals(board)
        self._reasons: dict[Outcome, Reason] = {}
        self.is_over, self._takings = False, 0
        self._is_woken = False  # when somebody may be stopped whom nobody waits for
        self._reclaims = board.config.policy is Policy.FAIR  # what others use decides who gives way

    def admit(self, job: Job) -> None:
        """Decide about a job."""
        board = self._board
        if self.is_over:
            board.explain[job.id] = board.reason(Code.BEHIND, first=str(board.first_blocked))
            return
        standing, has_room = self._refusals.of(job), job.id in board.promises or job.id in board.kept
        if standing.rejected is not None:
            board.rejects[job.id] = standing.rejected
            return
        own = has_room and board.lift(job) is not None
        if standing.limited and (limited := board.ledger.blocked(job)) is not None:
            board.explain[job.id] = limited
            return
        alike = standing.alike
        if not has_room and self._fares_no_better(job, alike):
            return
        kept = board.kept.get(job.id)
        if kept is None:
            self._decide(job, alike.refusals, own)
            return
        mine = board.that_are_up(kept)
        board.room.open(mine)
        self._decide(job, alike.refusals, own=True)
        if job.id not in board.at_work:
            board.room.open(mine, closed=True)

    def _fares_no_better(self, job: Job, alike: Alike) -> bool:
        """Whether it waits, as others did that wanted no more: the quick way through thousands of jobs."""
        board, id = self._board, job.id
        until = _over_at(board, job)
        changes = board.ledger.changes if self._reclaims else 0
        if until >= alike.until and alike.changes == changes and alike.reason is not None:
            board.explain[id] = alike.reason
            return True
        if board.first_blocked is None or (board.ahead and board.considered < board.config.reservations_max):
            return False  # it may be promised a time
        if not alike.fits:
            return False
        refusals, workers = alike.refusals, job.min_workers
        outcome = refusals.start(workers, until)
        if outcome is None:
            return False
        if not refusals.taking(self._group(job), self._victims.rank(job), workers, until):
            return False
        reason = board.explain[id] = self._behind(board.first_blocked, outcome)
        if not self._stands_alone(job):
            alike.reason, alike.until, alike.changes = reason, until, changes
        return True

    def _behind(self, first: str, outcome: Outcome) -> Reason:
        """Why one waits that is not the first."""
        found = self._reasons.get(outcome)
        if found is None:
            code = Code.WOULD_DELAY if outcome is Outcome.DELAYS else Code.BEHIND
            found = self._reasons[outcome] = self._board.reason(code, first=first)
        return found

    def _stands_alone(self, job: Job) -> bool:
        """Whether more than its queue, priority and size matters for who gives way to it."""
        policy = self._board.config.policy
        if policy is Policy.DEADLINE:
            return job.deadline is not None
        return policy is Policy.FAIR and self._board.config.by_service

    def _decide(self, job: Job, refusals: Refusals, own: bool) -> None:
        """`own`: it has room that nobody before it had, so it does not matter that they did not fit."""
        board = self._board
        outcome = _start(board, job, refusals, own)
        if outcome is Outcome.STARTED:
            note_deadline(board, job, board.now)
            return
        if job.id in board.kept and (coming := booting(board, job)) is not None:
            board.explain[job.id] = coming
            hold_the_rest(board, job)
            return
        if (misfit := board.misfit(job)) is not None:
            board.explain[job.id] = misfit
            return
        taking = self._taking(job, refusals, own)
        opening = find_opening(board, job, refusals.shape)
        if taking is not None and is_worth_it(board, job, taking, opening):
            self._make_room(job, refusals.shape, taking)
        elif opening is not None:
            promise(board, job, refusals.shape, opening)
        else:
            board.explain[job.id] = _waits(board, job, refusals.shape, outcome)
        if board.first_blocked is None:
            board.first_blocked = job.id

    def _taking(self, job: Job, refusals: Refusals, own: bool) -> Taking | None:
        board, group, rank, until = (
            self._board,
            self._group(job),
            self._victims.rank(job),
            _over_at(self._board, job),
        )
        if not own and refusals.taking(group, rank, job.min_workers, until):
            return None
        end, late = board.room.end_row(SOON, job.estimate), board.patient < board.config.reservations_max
        if not late and not self._is_woken:
            self._is_woken = True
            board.wakes.append(self._victims.next_free_at())
        found = find(board, job, refusals.shape, end, self._victims, own=own, late=late)
        if isinstance(found, Taking):
            return found
        if not own:
            refusals.note_taking(group, rank, found.workers + 1, 0.0 if found.always else until)
        return None

    def _group(self, job: Job) -> str:
        """Jobs of one group have the same victims, but for their ranks."""
        return job.queue if self._board.config.policy is Policy.FAIR else ""

    def _make_room(self, job: Job, shape: Shape, taking: Taking) -> None:
        """Have others go, and keep what they leave; or keep it until they may go."""
        board = self._board
        spots = choose(taking.slots, job.min_workers, job.within, board.room, shape)
        if spots is None:
            raise AssertionError(f"there is room for {job.id}, and nowhere")
        if taking.until > board.now:
            board.promise(job, spots, SOON, start_at=taking.until)
            board.wakes.append(taking.until)
            board.patient += 1
            facts = {"until": taking.until}
            board.explain[job.id] = Reason(code=Code.PROTECTED, facts=facts, eta=taking.until)
        else:
            self._takings += bool(taking.loans or taking.stops)
            self.is_over = self._takings >= board.config.takings_max
            leaving = carry_out(board, job, taking, self._victims)
            leaving += board.leaving_on(spots)
            board.promise(job, spots, SOON, firm=True)
            board.explain[job.id] = Reason(code=Code.MAKING_ROOM, facts={"leaving": leaving})
        note_deadline(board, job, taking.until)


def _over_at(board: Board, job: Job) -> float:
    """When it is over if it starts now: for ever, where nobody looks ahead."""
    return inf if job.estimate is None or not board.ahead else board.now + job.estimate


def _start(board: Board, job: Job, refusals: Refusals, own: bool) -> Outcome:
    """Start a job if it fits and delays nobody who was promised room."""
    shape, until = refusals.shape, _over_at(board, job)
    if not own and (known := refusals.start(job.min_workers, until)) is not None:
        return known
    slots = board.room.window(shape, 0, board.room.end_row(0, job.estimate))
    spots = choose(slots, job.min_workers, job.within, board.room, shape)
    if spots is not None:
        board.start(job, spots)
        return Outcome.STARTED
    fit = most(board.room.window(shape, 0, SOON + 1), job.within, board.room)
    if fit < job.min_workers:
        if not own:
            refusals.note_start(fit + 1, 0.0, fit)
        return Outcome.NO_ROOM
    if not own:
        refusals.note_start(most(slots, job.within, board.room) + 1, until, fit)
    return Outcome.DELAYS


def _waits(board: Board, job: Job, shape: Shape, outcome: Outcome) -> Reason:
    first = board.first_blocked
    if first is not None:
        return board.reason(Code.WOULD_DELAY if outcome is Outcome.DELAYS else Code.BEHIND, first=first)
    free = int(board.room.window(shape, 0, SOON + 1).sum())
    missing = max(1, job.min_workers - free)
    return board.reason(Code.NO_ROOM, needed=job.min_workers, free=free, missing=missing)
