"""Whose room a pending job may have: first loans, then the places of jobs that stand behind it.

The set of victims is minimal: as soon as there is enough, it is walked back, and whoever is not needed stays.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from orchestrator.scheduler.board import Board, Worker
from orchestrator.scheduler.placement import enough, most
from orchestrator.scheduler.queues import needs
from orchestrator.scheduler.reasons import Code, Reason
from orchestrator.scheduler.room import SOON, Ints, Shape, Spots
from orchestrator.scheduler.snapshot import Job
from orchestrator.scheduler.victims import Victims


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


def protected_until(board: Board, job: Job) -> float:
    """A job that has started runs for a while, so that starting it was worth it."""
    begun = job.started_at if job.started_at is not None else job.last_change_at
    return begun + max(job.min_runtime, board.config.protect_restarts * job.restart_cost)


def cost(board: Board, worker: Worker) -> float:
    """Unit-seconds that are wasted when a job is stopped."""
    job = worker.job
    lost = 0.0
    if job.checkpoint_at is not None:
        begun = job.started_at if job.started_at is not None else board.now
        lost = board.now - max(job.checkpoint_at, begun)
    return (job.restart_cost + max(0.0, lost)) * job.units * worker.count


def find(board: Board, job: Job, shape: Shape, end: int, victims: Victims) -> Taking | int:
    """The least that others have to give up so that a job fits soon.

    Args:
        end: the row before which the job is over.

    Returns:
        How many of its workers would fit if they gave up all they have to, if not enough do.
    """
    lenders = victims.lenders()
    if not board.somebody_leaves and not lenders and next(victims.of(job), None) is None:
        return 0
    most_there_can_be = _bound(board, job, shape, lenders, victims)
    if most_there_can_be < job.min_workers:
        return most_there_can_be
    search = _Search(board, job, shape, end)
    if search.enough():
        return Taking(slots=search.slots, until=board.now)
    search.take_loans(lenders)
    if not search.enough():
        search.add_stops(victims.of(job))
    if not search.enough():
        return search.reach()
    search.walk_back()
    return search.taking()


def _bound(board: Board, job: Job, shape: Shape, lenders: list[Worker], victims: Victims) -> int:
    """At least as many workers as could fit, found without looking at single nodes.

    Looks no further than the job needs.
    """
    found = int(board.room.slots(shape)[SOON].sum())
    for workers in (iter(lenders), victims.of(job)):
        for worker in workers:
            if found >= job.min_workers:
                return found
            for count in worker.spots.values():
                given = needs(worker.job, count)
                # What they give up may complete what is free beside it.
                found += 1 + min(
                    (have // want for have, want in zip(given, shape.amounts, strict=True) if want), default=0
                )
    return found


class _Search:
    """Slots of one shape, as others give up what they have."""

    def __init__(self, board: Board, job: Job, shape: Shape, end: int) -> None:
        self._board, self._job, self._shape, self._end = board, job, shape, end
        # Of nodes on which somebody gives up something: what is free in all rows; and (rows, kinds), with
        # what is given up for some of the rows alone.
        self._least: dict[int, list[int]] = {}
        self._early: dict[int, Ints] = {}
        self.slots: Ints = board.room.window(shape, SOON, end).copy()
        self._total = int(self.slots.sum())
        self._loans: list[tuple[Worker, int]] = []  # a worker process each: whose, and where
        self._stops: list[Worker] = []

    def enough(self) -> bool:
        if self._total < self._job.min_workers:
            return False
        return enough(self.slots, self._job.min_workers, self._job.within, self._board.room)

    def reach(self) -> int:
        """How many workers fit as it stands."""
        return most(self.slots, self._job.within, self._board.room)

    def take_loans(self, lenders: list[Worker]) -> None:
        for worker in lenders:
            for node, workers in sorted(worker.lent.items()):
                for _ in range(workers):
                    if self.enough():
                        return
                    self._change(worker.job, node, 1, SOON + 1)
                    self._loans.append((worker, node))

    def add_stops(self, victims: Iterator[Worker]) -> None:
        """Those that may go at once; if they are too few, those that may go later, the earliest first."""
        later: list[tuple[float, int, Worker]] = []
        for number, worker in enumerate(victims):
            until = protected_until(self._board, worker.job)
            if until > self._board.now:
                later.append((until, number, worker))
                continue
            self._stop(worker)
            if self.enough():
                return
        for _, _, worker in sorted(later, key=lambda entry: entry[:2]):
            self._stop(worker)
            if self.enough():
                return

    def _stop(self, worker: Worker) -> None:
        self._stops.append(worker)
        self._change_all(worker, self._beyond_loans(worker))

    def _beyond_loans(self, worker: Worker) -> Spots:
        rest = dict(worker.spots)
        for lender, node in self._loans:
            if lender is worker:
                rest[node] -= 1
        return rest

    def _change_all(self, worker: Worker, rest: Spots, sign: int = 1) -> None:
        """What a worker leaves if it stops: what it has on loan is free later in any case."""
        end = max(SOON + 1, self._board.row_before(worker.end))
        for node, workers in rest.items():
            kept = min(workers, worker.spots[node] - worker.lent.get(node, 0))
            self._change(worker.job, node, sign * kept, end)
            self._change(worker.job, node, sign * (workers - kept), SOON + 1)

    def walk_back(self) -> None:
        """Give back whatever is not needed, beginning with what hurts most."""
        for worker in reversed(self._stops.copy()):
            rest = self._beyond_loans(worker)
            self._change_all(worker, rest, -1)
            if self.enough():
                self._stops.remove(worker)
            else:
                self._change_all(worker, rest)
        stopped = {worker.job.id for worker in self._stops}
        for entry in reversed(self._loans.copy()):
            worker, node = entry
            if worker.job.id in stopped:
                continue
            self._change(worker.job, node, -1, SOON + 1)
            if self.enough():
                self._loans.remove(entry)
            else:
                self._change(worker.job, node, 1, SOON + 1)

    def _change(self, job: Job, node: int, workers: int, end: int) -> None:
        """So many of a job's workers leave a node, where they would have been until that row."""
        if not workers or not self._shape.eligible[node]:
            return
        if node not in self._least:
            self._least[node] = self._board.room.free[SOON : self._end, node].min(axis=0).tolist()
        least = self._least[node]
        if end >= self._end:
            for kind, amount in enumerate(job.request.amounts):
                least[kind] += amount * workers
        else:
            if node not in self._early:
                self._early[node] = self._board.room.free[SOON : self._end, node].copy()
            early = self._early[node]
            before_all = early.min(axis=0)
            early[: end - SOON] += np.array(job.request.amounts) * workers
            for kind, more in enumerate((early.min(axis=0) - before_all).tolist()):
                least[kind] += more
        before, fits = int(self.slots[node]), 1 << 20
        for kind, amount in enumerate(self._shape.amounts):
            if amount:
                fits = min(fits, max(0, least[kind] // amount))
        self.slots[node] = fits
        self._total += fits - before

    def taking(self) -> Taking:
        stopped = {worker.job.id for worker in self._stops}
        loans: dict[str, Spots] = {}
        for worker, node in self._loans:
            if worker.job.id not in stopped:
                spots = loans.setdefault(worker.job.id, {})
                spots[node] = spots.get(node, 0) + 1
        until = max((protected_until(self._board, w.job) for w in self._stops), default=self._board.now)
        return Taking(slots=self.slots, loans=loans, stops=self._stops, until=max(until, self._board.now))


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
