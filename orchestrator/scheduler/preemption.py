"""Whose room a pending job may have: first loans, then the places of jobs that stand behind it.

The set of victims is minimal: as soon as there is enough, it is walked back, and whoever is not needed stays.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from orchestrator.scheduler.board import Board, Worker
from orchestrator.scheduler.config import Policy
from orchestrator.scheduler.order import Key
from orchestrator.scheduler.placement import enough, most
from orchestrator.scheduler.queues import Amounts, minus, needs
from orchestrator.scheduler.reasons import Code, Reason
from orchestrator.scheduler.room import SOON, Ints, Shape, Spots
from orchestrator.scheduler.snapshot import Job, JobState


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


class Victims:
    """Who gives way to whom, by the policy."""

    def __init__(self, board: Board, keys: dict[str, Key]) -> None:
        self._board, self._keys = board, keys
        self._sorted: list[Worker] | None = None
        self._lenders: list[Worker] | None = None
        self._priorities: dict[str, int] | None = None
        self._by_queue: list[Worker] = []
        self._borrowing: set[str] = set()
        self._answers: dict[tuple[str, int, bool], list[Worker]] = {}
        self._asked_at = -1
        self._changes = -1  # of the ledger, when they were sorted

    def lenders(self) -> list[Worker]:
        """Those who have something on loan, the largest loans first, so that few are disturbed."""
        if self._lenders is None:
            able = [w for w in self._board.at_work.values() if w.lent and w.job.state is JobState.RUNNING]
            self._lenders = sorted(able, key=lambda worker: (-worker.on_loan, worker.job.id))
        self._lenders = [w for w in self._lenders if w.lent and w.job.id in self._board.at_work]
        return self._lenders

    def rank(self, job: Job) -> object:
        """Jobs of one rank have the same victims, or fewer as the plan goes on."""
        policy = self._board.config.policy
        if policy is Policy.FAIR:
            return job.queue, job.priority, self._board.ledger.within_quota(job)
        return job.priority if policy is Policy.PRIORITY else None

    def code(self, job: Job, victim: Job) -> Code:
        """Why."""
        policy = self._board.config.policy
        if policy is Policy.FAIR and job.queue != victim.queue:
            return Code.RECLAIM
        return Code.SERVICE if policy in (Policy.SERVICE, Policy.ELASTIC) else Code.PRIORITY

    def of(self, job: Job) -> Iterator[Worker]:
        """Those who may be stopped for a job, the first to go first."""
        policy, board = self._board.config.policy, self._board
        if not board.config.preemption:
            return iter(())
        if policy is Policy.FAIR:
            ledger = board.ledger
            if self._asked_at != ledger.changes:
                self._asked_at, self._answers = ledger.changes, {}
            key = (job.queue, job.priority, ledger.within_quota(job))
            if key not in self._answers:
                self._answers[key] = list(self._for_queue(job))
            return iter(self._answers[key])
        ordered = self._ordered()
        if policy is Policy.PRIORITY:
            return self._alive(ordered, lambda worker: worker.job.priority < job.priority)
        if policy is Policy.DEADLINE:
            return self._alive(ordered, lambda worker: worker.job.deadline is None)
        key = self._keys[job.id]
        return self._alive(ordered, lambda worker: self._keys[worker.job.id] > key)

    def _alive(self, ordered: list[Worker], gives_way: Callable[[Worker], bool]) -> Iterator[Worker]:
        """In this order, until somebody does not give way: then nobody after does."""
        for worker in ordered:
            if not gives_way(worker):
                if self._board.config.policy is Policy.DEADLINE:
                    continue
                return
            if worker.job.id in self._board.at_work:
                yield worker

    def _ordered(self) -> list[Worker]:
        if self._sorted is None:
            workers = [worker for worker in self._board.at_work.values() if _can_stop(worker)]
            if self._board.config.policy in (Policy.SERVICE, Policy.ELASTIC):
                workers.sort(key=lambda worker: self._keys[worker.job.id], reverse=True)
            else:
                workers.sort(key=_newest_of_the_lowest)
            self._sorted = workers
        return self._sorted

    def _lowest(self) -> dict[str, int]:
        """The lowest priority that is at work, by queue."""
        if self._priorities is None:
            self._priorities = {worker.job.queue: worker.job.priority for worker in reversed(self._ordered())}
        return self._priorities

    def _borrowing_first(self) -> list[Worker]:
        ledger = self._board.ledger
        if self._changes != ledger.changes:
            self._borrowing = {queue for queue in ledger.used if ledger.borrows(queue)}
            alive = [worker for worker in self._ordered() if worker.job.id in self._board.at_work]
            self._by_queue = sorted(alive, key=lambda w: w.job.queue not in self._borrowing)  # stable
            self._changes = ledger.changes
        return self._by_queue

    def _for_queue(self, job: Job) -> Iterator[Worker]:
        """Of its own queue, lower priorities; of queues that borrow, what brings them back."""
        ledger = self._board.ledger
        within = ledger.within_quota(job)
        workers = self._borrowing_first()
        others = self._borrowing - {job.queue} if within else set()
        if not others and job.priority <= self._lowest().get(job.queue, job.priority):
            return
        used: dict[str, Amounts] = dict(ledger.used)
        for worker in workers:
            queue = worker.job.queue
            if queue == job.queue:
                gives_way = worker.job.priority < job.priority
            else:
                gives_way = queue in others and ledger.borrows(queue, used[queue])
            if gives_way:
                used[queue] = minus(used[queue], needs(worker.job, worker.count))
                yield worker


def _can_stop(worker: Worker) -> bool:
    return worker.job.state is JobState.RUNNING and worker.job.preemptible


def _newest_of_the_lowest(worker: Worker) -> tuple[int, float, str]:
    begun = worker.job.started_at if worker.job.started_at is not None else worker.job.last_change_at
    return worker.job.priority, -begun, worker.job.id


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
        self._free: dict[int, list[int]] = {}  # of nodes that somebody gives up
        self.slots: Ints = board.room.window(shape, SOON, end).copy()
        self._extra: dict[int, list[int]] = {}
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
                    self._change(worker.job, node, 1)
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
        for node, workers in self._beyond_loans(worker).items():
            self._change(worker.job, node, workers)

    def _beyond_loans(self, worker: Worker) -> Spots:
        rest = dict(worker.spots)
        for lender, node in self._loans:
            if lender is worker:
                rest[node] -= 1
        return rest

    def walk_back(self) -> None:
        """Give back whatever is not needed, beginning with what hurts most."""
        for worker in reversed(self._stops.copy()):
            rest = self._beyond_loans(worker)
            if self._can_do_without(worker.job, rest):
                self._stops.remove(worker)
        stopped = {worker.job.id for worker in self._stops}
        for entry in reversed(self._loans.copy()):
            worker, node = entry
            if worker.job.id not in stopped and self._can_do_without(worker.job, {node: 1}):
                self._loans.remove(entry)

    def _can_do_without(self, job: Job, spots: Spots) -> bool:
        for node, workers in spots.items():
            self._change(job, node, -workers)
        if self.enough():
            return True
        for node, workers in spots.items():
            self._change(job, node, workers)
        return False

    def _change(self, job: Job, node: int, workers: int) -> None:
        extra = self._extra.setdefault(node, [0, 0, 0])
        for kind, amount in enumerate(job.request.amounts):
            extra[kind] += amount * workers
        if not self._shape.eligible[node]:
            return
        if node not in self._free:
            self._free[node] = self._board.room.free[SOON : self._end, node].min(axis=0).tolist()
        before = int(self.slots[node])
        free, fits = self._free[node], 1 << 20
        for kind, amount in enumerate(self._shape.amounts):
            if amount:
                fits = min(fits, max(0, (free[kind] + extra[kind]) // amount))
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
