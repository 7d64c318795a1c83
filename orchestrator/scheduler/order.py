"""Who comes first. The smallest key does, under every policy.

A point of priority is worth `ageing` seconds of waiting. So priority only moves a job's submission back in
time: two pending jobs never change places as they grow older, and the jobs that can come before one are those
that were submitted until `ageing` × (highest priority - its own) seconds after it: finitely many.
"""

from __future__ import annotations

import heapq
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from zlib import crc32

from orchestrator.scheduler.at_work import service
from orchestrator.scheduler.board import Board
from orchestrator.scheduler.config import Policy
from orchestrator.scheduler.snapshot import Job

#: (class, when, lot, id): jobs of a lower class first; of these, the earlier; of these, by lot.
Key = tuple[int, float, int, str]


class Keys(dict[str, Key]):
    """Job's id → where it stands. Of those at work that is often not asked for."""

    def __init__(self, jobs: Iterable[Job], key: Callable[[Job], Key]) -> None:
        self._jobs = {job.id: job for job in jobs}
        self._key = key

    def __missing__(self, id: str) -> Key:
        return self.of(self._jobs[id])

    def of(self, job: Job) -> Key:
        """Where it stands."""
        found = self[job.id] = self._key(job)
        return found


def key_of(board: Board) -> Callable[[Job], Key]:
    """Where a job stands, by the policy."""
    ageing, seed = board.config.ageing, board.snapshot.seed
    rank: Callable[[Board, Job], tuple[int, float]] | None = None
    if board.config.by_service:
        rank = _by_service
    elif board.config.policy is Policy.DEADLINE:
        rank = _by_deadline
    if rank is None:
        first = board.promoted
        return lambda job: (
            -1 if job.id in first and level_of(board, job) == -1 else 0,
            job.submitted_at - ageing * job.priority,
            _lot(seed, job.id),
            job.id,
        )

    def key(job: Job) -> Key:
        level, when = rank(board, job)
        return level, when, _lot(seed, job.id), job.id

    return key


def in_order(board: Board, jobs: list[Job], keys: dict[str, Key]) -> Iterator[Job]:
    """Pending jobs, first to last, given them sorted. Under fair share, decisions change who is next."""
    if board.config.policy is not Policy.FAIR:
        yield from jobs
        return
    if (
        board.promoted
    ):  # whatever their queues use: a gang beyond its queue's quota waits long enough as it is
        first = [job for job in jobs if keys[job.id][0] == -1]
        yield from first
        jobs = jobs[len(first) :]
    by_queue: dict[str, list[Job]] = {}
    for job in reversed(jobs):
        by_queue.setdefault(job.queue, []).append(job)
    heap: list[tuple[int, Key, str]] = [
        (_share(board, queue), keys[waiting[-1].id], queue) for queue, waiting in by_queue.items()
    ]
    heapq.heapify(heap)
    ledger, promises = board.ledger, board.promises
    while heap:
        share, _, queue = heapq.heappop(heap)
        waiting, changes, promised = by_queue[queue], ledger.changes, len(promises)
        until = heap[0] if heap else None  # whose turn is next, as long as nobody's share changes
        while waiting and ledger.changes == changes and len(promises) == promised:
            if until is not None and (share, keys[waiting[-1].id], queue) > until:
                break
            yield waiting.pop()
        if waiting:
            heapq.heappush(heap, (_share(board, queue), keys[waiting[-1].id], queue))


def level_of(board: Board, job: Job) -> int:
    """How much a job has had: 0 for little; -1 if it goes first, since it waited too long."""
    return level_at(board, job, had(board, job))


def had(board: Board, job: Job) -> float:
    """The service that it has had until now."""
    worker = board.at_work.get(job.id)
    return job.attained_service if worker is None else service(job, worker.count, board.now)


def level_at(board: Board, job: Job, served: float) -> int:
    """The level of a job that has had so much."""
    if board.promoted and served < board.promoted.get(job.id, 0.0):
        return -1
    return bisect_right(board.config.service_levels, served)


def promote(board: Board) -> None:
    """Jobs that waited too long go first, until they have had a level's worth more."""
    config = board.config
    if not config.promotes:
        board.promoted = {}
        return
    worth = config.service_levels[0] if config.service_levels else 3600.0
    kept = {}
    for id, until in board.promoted.items():
        job = board.pending.get(id) or (board.at_work[id].job if id in board.at_work else None)
        if job is not None and level_of(board, job) == -1:
            kept[id] = until
    board.promoted = kept
    for job in board.pending.values():
        since = job.last_change_at if job.last_change_at > job.submitted_at else job.submitted_at
        if board.now - since >= config.promote_after and job.id not in kept:
            kept[job.id] = job.attained_service + worth


def _by_service(board: Board, job: Job) -> tuple[int, float]:
    return level_of(board, job), job.submitted_at - board.config.ageing * job.priority


def _by_deadline(board: Board, job: Job) -> tuple[int, float]:
    """Promised deadlines first, then the earlier. A job without one, or with a hopeless one, has patience."""
    if job.id in board.admitted and job.deadline is not None:
        return 0, job.deadline
    if job.deadline is not None and can_meet(job, board.now):
        return 1, job.deadline
    return 1, job.submitted_at + board.config.patience - board.config.ageing * job.priority


def can_meet(job: Job, start_at: float) -> bool:
    """Whether a job that starts then is done in time."""
    return job.deadline is not None and start_at + (job.estimate or 0.0) <= job.deadline


def _share(board: Board, queue: str) -> int:
    return board.ledger.share(queue, board.promised_use.get(queue, (0, 0, 0)))


@lru_cache(maxsize=1 << 17)
def _lot(seed: int, id: str) -> int:
    """Decides between jobs of the same moment; ids alone would favour whoever is called aaa."""
    return crc32(id.encode(), seed & 0xFFFFFFFF)
