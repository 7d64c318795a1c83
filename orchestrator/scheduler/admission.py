"""One pending job's turn: it starts, others make room for it, it is promised a time, or it waits; and why."""

from __future__ import annotations

from collections.abc import Iterable
from math import inf

from orchestrator.scheduler.board import Board
from orchestrator.scheduler.booting import booting, hold_the_rest
from orchestrator.scheduler.config import Policy
from orchestrator.scheduler.lacks import lack_at_once, lacks_of_slots
from orchestrator.scheduler.openings import find_opening, is_worth_it, note_deadline, promise
from orchestrator.scheduler.placement import choose
from orchestrator.scheduler.preemption import Taking, carry_out, find
from orchestrator.scheduler.reasons import Code, Reason
from orchestrator.scheduler.refusals import Outcome
from orchestrator.scheduler.room import SOON, Shape
from orchestrator.scheduler.snapshot import Job
from orchestrator.scheduler.standings import Alike, Standing, Standings
from orchestrator.scheduler.victims import Victims


class Admission:
    """Decides about jobs in turn, each given what was decided about those before it.

    Attributes:
        is_over: all who follow have to wait for the next plan: others have been told to leave for many.
    """

    def __init__(self, board: Board, victims: Victims) -> None:
        self._board, self._victims = board, victims
        self._standings = Standings(board)
        self._reasons: tuple[Reason, ...] = ()  # of those behind the first; where there is room: the second
        self.is_over, self._takings = False, 0
        self._is_woken = False  # when somebody may be stopped whom nobody waits for
        self._fair = board.config.policy is Policy.FAIR  # what others use decides who gives way

    def admit(self, jobs: Iterable[Job]) -> None:
        """Decide about jobs, one after another."""
        board, explain, regains = self._board, self._board.explain, self._board.ledger.regains
        have_room = {*board.promises, *board.kept}
        of, now, ahead, fair = self._standings.of, board.now, board.ahead, self._fair
        for job in jobs:
            if self.is_over:
                explain[job.id] = self._reasons[0]
                continue
            standing, mine = of(job), job.id in have_room
            own = mine and board.lift(job) is not None
            if standing.limited and not self._is_allowed(job, standing):
                continue
            alike, workers, estimate = standing.alike, job.min_workers, job.estimate
            until = now + estimate if ahead and estimate is not None else inf
            if fair and alike.regains != regains.get(job.queue, 0):
                alike.waits, alike.regains = [], regains[job.queue]
            if not mine and (alike.has_to_wait(workers, until) or self._waits(job, alike, until)):
                explain[job.id] = self._reasons[workers <= alike.there]
            elif job.id in board.kept:
                self._decide_with_nodes(job, alike)
            else:
                self._decide(job, alike, own)

    def _is_allowed(self, job: Job, standing: Standing) -> bool:
        """Whether the limits of its queue let it start now."""
        ledger = self._board.ledger
        if job.min_workers > standing.allowed and (reason := ledger.impossible(job)) is not None:
            self._board.rejects[job.id] = reason
            return False
        if (reason := ledger.blocked(job)) is not None:
            self._board.explain[job.id] = reason
            return False
        return True

    def _waits(self, job: Job, alike: Alike, until: float) -> bool:
        """Whether it has to wait as somebody else did that asked for no more: that goes quickly."""
        board = self._board
        if board.first_blocked is None or (board.ahead and board.considered < board.config.reservations_max):
            return False  # it may be promised a time
        refusals, shape, workers = alike.refusals, alike.shape, job.min_workers
        if workers > alike.fits or (starts := refusals.start(shape, workers, until)) is None:
            return False
        rank = self._victims.rank(job)
        takes = refusals.taking(shape, self._group(job), rank, workers, until)
        if takes is None:
            return False
        if not self._stands_alone(job):
            # With fewer workers its queue may stay within its quota, and take more from others.
            least = workers if self._fair and not rank[1] else takes[0]
            alike.note(max(least, starts[0]), max(takes[1], starts[1]))
        return True

    def _decide_with_nodes(self, job: Job, alike: Alike) -> None:
        """Of a job that nodes were added for, which nobody else sees."""
        room = self._board.room
        mine = self._board.that_are_up(self._board.kept[job.id])
        room.open(mine)
        self._decide(job, alike, own=True)
        if job.id not in self._board.at_work:
            room.open(mine, closed=True)

    def _stands_alone(self, job: Job) -> bool:
        """Whether more than its queue, priority and size matters for who gives way to it."""
        policy = self._board.config.policy
        if policy is Policy.DEADLINE:
            return job.deadline is not None
        return policy is Policy.FAIR and self._board.config.by_service

    def _decide(self, job: Job, alike: Alike, own: bool) -> None:
        """`own`: it has room that nobody before it had, so it does not matter that they did not fit."""
        board = self._board
        shape = alike.shape
        outcome = _start(board, job, alike, own)
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
        taking = self._taking(job, alike, own)
        opening = find_opening(board, job, shape)
        if taking is not None and is_worth_it(board, job, taking, opening):
            self._make_room(job, shape, taking)
        elif opening is not None:
            promise(board, job, shape, opening)
        else:
            board.explain[job.id] = _why(board, job, shape, outcome)
        if board.first_blocked is None:
            board.first_blocked = job.id
            behind = Code.BEHIND, Code.WOULD_DELAY
            self._reasons = tuple(board.reason(code, first=job.id) for code in behind)

    def _taking(self, job: Job, alike: Alike, own: bool) -> Taking | None:
        refusals, shape = alike.refusals, alike.shape
        board, group, rank = self._board, self._group(job), self._victims.rank(job)
        until = board.over_at(job)
        if not own and refusals.taking(shape, group, rank, job.min_workers, until):
            return None
        late = board.patient < board.config.patient_max
        if not late and not self._is_woken:
            self._is_woken = True
            board.wakes.append(self._victims.next_free_at())
        found = find(board, job, shape, self._victims, own=own, late=late)
        if isinstance(found, Taking):
            return found
        if not own:
            refusals.note_taking(group, rank, found)
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


def _start(board: Board, job: Job, alike: Alike, own: bool) -> Outcome:
    """Start a job if it fits and delays nobody who was promised room."""
    shape, refusals, until = alike.shape, alike.refusals, board.over_at(job)
    if not own and refusals.start(shape, job.min_workers, until) is not None:
        return refusals.outcome(shape, job.min_workers)
    workers, within, room = job.min_workers, job.within, board.room
    too_little = lack_at_once(room.free[: SOON + 1].min(axis=0), shape, workers, within, room)
    if too_little is not None:
        if not own:
            refusals.note_start(too_little)
        return Outcome.NO_ROOM
    end = room.end_row(0, job.estimate)
    spots = choose(room.window(shape, 0, end), workers, within, room, shape)
    if spots is not None:
        board.start(job, spots)
        return Outcome.STARTED
    if not own:
        refusals.note_start(*lacks_of_slots(room.slots(shape)[:end], shape.amounts, workers, within, room, 0))
    return Outcome.DELAYS


def _why(board: Board, job: Job, shape: Shape, outcome: Outcome) -> Reason:
    first = board.first_blocked
    if first is not None:
        return board.reason(Code.WOULD_DELAY if outcome is Outcome.DELAYS else Code.BEHIND, first=first)
    free = int(board.room.window(shape, 0, SOON + 1).sum())
    missing = max(1, job.min_workers - free)
    return board.reason(Code.NO_ROOM, needed=job.min_workers, free=free, missing=missing)
