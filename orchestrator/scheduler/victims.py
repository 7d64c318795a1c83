"""Who gives way to whom: the jobs that stand behind another, in the order in which they go."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

import numpy as np

from orchestrator.scheduler.at_work import Worker
from orchestrator.scheduler.board import Board
from orchestrator.scheduler.config import Policy
from orchestrator.scheduler.evictions import Evictions, Table
from orchestrator.scheduler.order import Keys, can_meet
from orchestrator.scheduler.queues import minus, needs
from orchestrator.scheduler.reasons import Code
from orchestrator.scheduler.snapshot import Job, JobState

#: Who is lower in one part and not higher in the other has fewer victims, or the same.
Rank = tuple[int, int]
#: So many of a queue, the first to go; of all queues together where these do not matter.
_Some = tuple[str, int]


class Victims:
    """Who gives way to whom, by the policy."""

    def __init__(self, board: Board, keys: Keys) -> None:
        self._board, self._keys = board, keys
        self._table: Table | None = None
        self._workers: Sequence[Worker] = ()  # in the table
        self._place: dict[str, int] = {}  # in the table, of those whom nobody has stopped yet
        self._places: dict[str, list[int]] = {}  # the same, by queue
        self._lenders: dict[str, Worker] = {}  # who has something on loan still, the largest loans first
        self._answers: dict[tuple[_Some, tuple[_Some, ...], bool], Evictions] = {}
        self._departed = 0  # how many who leave all of this knows of
        self._reclaims: tuple[int, tuple[_Some, ...]] = (-1, ())

    def rank(self, job: Job) -> Rank:
        """Who has a lower rank has fewer victims, or the same; and all have fewer as the plan goes on."""
        policy = self._board.config.policy
        if policy is Policy.PRIORITY:
            return job.priority, 0
        if policy is Policy.FAIR:
            standing = -self._keys[job.id][0] if self._board.config.by_service else job.priority
            return standing, int(self._board.ledger.within_quota(job))
        return int(policy is Policy.DEADLINE and self._gains_by_stops(job)), 0

    def code(self, job: Job, victim: Job) -> Code:
        """Why."""
        policy = self._board.config.policy
        if policy is Policy.FAIR and job.queue != victim.queue:
            return Code.RECLAIM
        return Code.SERVICE if self._board.config.by_service else Code.PRIORITY

    def evictions(self, job: Job, *, late: bool) -> Evictions:
        """What is on loan, the largest loans first to disturb few; then who gives way to a job.

        Args:
            late: also those who may not be stopped yet.
        """
        table = self._refreshed()
        own, others = self._own(job), self._others(job)
        if not own[1]:
            own = ("", 0)  # whatever its queue
        found = self._answers.get((own, others, late))
        if found is None:
            places = sorted(place for queue, count in others for place in self._to_reclaim(queue)[:count])
            places += self._places.get(own[0], [])[: own[1]]
            victims = np.array(places, dtype=np.int64)
            found = self._answers[own, others, late] = table.evictions(
                list(self._lenders.values()), victims, late=late
            )
        return found

    def next_free_at(self) -> float:
        """When the first of those who may not be stopped yet may be; now, if there is none."""
        free_from, now = self._refreshed().free_from, self._board.now
        return float(min(free_from[free_from > now], default=now))

    def _refreshed(self) -> Table:
        board = self._board
        if self._table is None:
            self._workers = self._in_order()
            self._table = Table(board, self._workers)
            for place, worker in enumerate(self._workers):
                self._place[worker.job.id] = place
                self._places.setdefault(self._group(worker.job), []).append(place)
            able = [w for w in board.at_work.values() if w.lent and w.job.state is JobState.RUNNING]
            able.sort(key=lambda worker: (-worker.on_loan, worker.job.id))
            self._lenders = {worker.job.id: worker for worker in able}
        gone = board.departed[self._departed :]
        if gone:
            self._departed, self._answers, self._reclaims = len(board.departed), {}, (-1, ())
            for id in gone:
                stops = id not in board.at_work
                if stops or not board.at_work[id].lent:
                    self._lenders.pop(id, None)
                if stops and id in self._place:
                    place = self._place.pop(id)
                    self._places[self._group(self._workers[place].job)].remove(place)
        return self._table

    def _in_order(self) -> list[Worker]:
        """All who may be stopped for somebody, the first to go first."""
        config = self._board.config
        if not config.preemption:
            return []
        able = [
            w for w in self._board.at_work.values() if w.job.state is JobState.RUNNING and w.job.preemptible
        ]
        if config.by_service:
            first_to_last = self._keys.sort(worker.job for worker in able)
            return [self._board.at_work[job.id] for job in reversed(first_to_last)]
        if config.policy is Policy.DEADLINE:
            able = [worker for worker in able if worker.job.deadline is None]
        return sorted(able, key=_newest_of_the_lowest)

    def _group(self, job: Job) -> str:
        return job.queue if self._board.config.policy is Policy.FAIR else ""

    def _own(self, job: Job) -> _Some:
        """How many of the group that a job belongs to stand so far behind it that they give way."""
        group, keys, policy = self._group(job), self._keys, self._board.config.policy
        places, workers = self._places.get(group, []), self._workers
        if policy is Policy.DEADLINE:
            return group, len(places) if self._gains_by_stops(job) else 0
        if self._board.config.by_service:
            key = keys[job.id]
            return group, bisect_left(places, True, key=lambda place: keys[workers[place].job.id] <= key)
        priority = job.priority
        return group, bisect_left(places, True, key=lambda place: workers[place].job.priority >= priority)

    def _gains_by_stops(self, job: Job) -> bool:
        """Where deadlines decide: whether it would be in time if others stopped now."""
        return job.estimate is not None and can_meet(job, self._board.now)

    def _others(self, job: Job) -> tuple[_Some, ...]:
        """Of queues that borrow, those who bring them back, if the job's queue only takes what is its own."""
        ledger = self._board.ledger
        if self._board.config.policy is not Policy.FAIR or not ledger.within_quota(job):
            return ()
        if self._reclaims[0] != ledger.changes:
            counts = ((queue, self._borrowed(queue)) for queue in sorted(self._places))
            self._reclaims = ledger.changes, tuple(some for some in counts if some[1])
        return tuple(some for some in self._reclaims[1] if some[0] != job.queue)

    def _borrowed(self, queue: str) -> int:
        """How many of a queue have to stop until it borrows nothing."""
        ledger = self._board.ledger
        used, count = ledger.used.get(queue, (0, 0, 0)), 0
        if ledger.borrows(queue):
            for place in self._to_reclaim(queue):
                worker = self._workers[place]
                used, count = minus(used, needs(worker.job, worker.count)), count + 1
                if not ledger.borrows(queue, used):
                    break
        return count

    def _to_reclaim(self, queue: str) -> list[int]:
        """A queue's, but for those who waited too long, and have not had their due yet."""
        places, keys = self._places[queue], self._keys
        if not self._board.promoted:
            return places
        workers = self._workers
        return [place for place in places if keys[workers[place].job.id][0] != -1]


def _newest_of_the_lowest(worker: Worker) -> tuple[int, float, str]:
    begun = worker.job.started_at if worker.job.started_at is not None else worker.job.last_change_at
    return worker.job.priority, -begun, worker.job.id
