"""Who gives way to whom: the jobs that stand behind another, in the order in which they go."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from orchestrator.scheduler.board import Board, Worker
from orchestrator.scheduler.config import Policy
from orchestrator.scheduler.order import Key
from orchestrator.scheduler.queues import Amounts, minus, needs
from orchestrator.scheduler.reasons import Code
from orchestrator.scheduler.snapshot import Job, JobState


class Victims:
    """Who gives way to whom, by the policy."""

    def __init__(self, board: Board, keys: dict[str, Key]) -> None:
        self._board, self._keys = board, keys
        self._sorted: list[Worker] | None = None
        self._lenders: list[Worker] | None = None
        self._first_to_go: dict[str, Job] | None = None
        self._by_queue: list[Worker] = []
        self._borrowing: set[str] = set()
        self._answers: dict[tuple[str, object, bool], list[Worker]] = {}
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
            return job.queue, self._standing(job), self._board.ledger.within_quota(job)
        return job.priority if policy is Policy.PRIORITY else None

    def code(self, job: Job, victim: Job) -> Code:
        """Why."""
        policy = self._board.config.policy
        if policy is Policy.FAIR and job.queue != victim.queue:
            return Code.RECLAIM
        return Code.SERVICE if self._board.config.by_service else Code.PRIORITY

    def _standing(self, job: Job) -> object:
        """What decides who of its own queue gives way to it, or fewer to those who come later."""
        return self._keys[job.id][:1] if self._board.config.by_service else job.priority

    def of(self, job: Job) -> Iterator[Worker]:
        """Those who may be stopped for a job, the first to go first."""
        policy, board = self._board.config.policy, self._board
        if not board.config.preemption:
            return iter(())
        if policy is Policy.FAIR:
            ledger = board.ledger
            if self._asked_at != ledger.changes:
                self._asked_at, self._answers = ledger.changes, {}
            exact = self._keys[job.id] if board.config.by_service else job.priority
            asked = (job.queue, exact, ledger.within_quota(job))
            if asked not in self._answers:
                self._answers[asked] = list(self._for_queue(job))
            return iter(self._answers[asked])
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
            if self._board.config.by_service:
                workers.sort(key=lambda worker: self._keys[worker.job.id], reverse=True)
            else:
                workers.sort(key=_newest_of_the_lowest)
            self._sorted = workers
        return self._sorted

    def _last(self) -> dict[str, Job]:
        """By queue, the job at work that gives way first."""
        if self._first_to_go is None:
            self._first_to_go = {worker.job.queue: worker.job for worker in reversed(self._ordered())}
        return self._first_to_go

    def _own_queue(self, job: Job) -> Callable[[Job], bool]:
        """Whether a job at work in the same queue gives way."""
        if self._board.config.by_service:
            keys, key = self._keys, self._keys[job.id]
            return lambda other: keys[other.id] > key
        return lambda other: other.priority < job.priority

    def _goes_first(self, job: Job) -> bool:
        """It waited too long, and has not had its due yet."""
        return bool(self._board.promoted) and self._keys[job.id][0] == -1

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
        gives_way_to_own = self._own_queue(job)
        if not others and not gives_way_to_own(self._last().get(job.queue, job)):
            return
        used: dict[str, Amounts] = dict(ledger.used)
        for worker in workers:
            queue = worker.job.queue
            if queue == job.queue:
                gives_way = gives_way_to_own(worker.job)
            else:
                gives_way = queue in others and ledger.borrows(queue, used[queue])
                gives_way = gives_way and not self._goes_first(worker.job)
            if gives_way:
                used[queue] = minus(used[queue], needs(worker.job, worker.count))
                yield worker


def _can_stop(worker: Worker) -> bool:
    return worker.job.state is JobState.RUNNING and worker.job.preemptible


def _newest_of_the_lowest(worker: Worker) -> tuple[int, float, str]:
    begun = worker.job.started_at if worker.job.started_at is not None else worker.job.last_change_at
    return worker.job.priority, -begun, worker.job.id
