"""Who comes first. The smallest key does, under every policy.

A point of priority is worth `ageing` seconds of waiting. So priority only moves a job's submission back in
time: two pending jobs never change places as they grow older, and the jobs that can come before one are those
that were submitted until `ageing` × (highest priority - its own) seconds after it: finitely many.
"""

from __future__ import annotations

import heapq
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from hashlib import blake2b

import numpy as np

from orchestrator.scheduler.board import Board
from orchestrator.scheduler.config import Policy
from orchestrator.scheduler.snapshot import Job

#: (class, when, lot, id): jobs of a lower class first; of these, the earlier; of these, by lot.
Key = tuple[int, float, int, str]


class Keys(dict[str, Key]):
    """Job's id → where it stands, by the policy. Of most jobs that is never asked for."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self._jobs = {job.id: job for job in board.snapshot.jobs}

    def __missing__(self, id: str) -> Key:
        (level,), (when,) = _ranks(self._board, (self._jobs[id],))
        found = self[id] = level, when, _lot(self._board.snapshot.seed, id), id
        return found

    def sort(self, jobs: Iterable[Job]) -> list[Job]:
        """First to last, as the keys have it."""
        some, seed = list(jobs), self._board.snapshot.seed
        levels, times = _ranks(self._board, some)
        order = np.lexsort(([_lot(seed, job.id) for job in some], times, levels))
        return [some[place] for place in order.tolist()]


def _ranks(board: Board, jobs: Sequence[Job]) -> tuple[Sequence[int], Sequence[float]]:
    """The class of each, and the time."""
    config, promoted = board.config, board.promoted
    if config.policy is Policy.DEADLINE:
        pairs = [_by_deadline(board, job) for job in jobs]
        return [level for level, _ in pairs], [time for _, time in pairs]
    times = [job.submitted_at - config.ageing * job.priority for job in jobs]
    if not config.by_service:
        return [-1 if job.id in promoted and level_of(board, job) == -1 else 0 for job in jobs], times
    if promoted:
        return [level_of(board, job) for job in jobs], times
    at_work, bounds = board.at_work, config.service_levels
    return [
        bisect_right(bounds, at_work[job.id].served if job.id in at_work else job.attained_service)
        for job in jobs
    ], times


def in_order(board: Board, jobs: list[Job], keys: dict[str, Key]) -> Iterator[Job]:
    """Pending jobs, first to last, given them sorted. Under fair share, decisions change who is next."""
    if board.config.policy is not Policy.FAIR:
        yield from jobs
        return
    if board.promoted:
        # Whatever their queues use: a gang beyond its queue's quota waits long enough as it is.
        first = [job for job in jobs if keys[job.id][0] == -1]
        yield from first
        jobs = jobs[len(first) :]
    by_queue: dict[str, list[int]] = {}  # places in `jobs`, the last first
    for place in range(len(jobs) - 1, -1, -1):
        by_queue.setdefault(jobs[place].queue, []).append(place)
    ledger = board.ledger
    heap = [(ledger.share(queue, promised=True), places[-1], queue) for queue, places in by_queue.items()]
    heapq.heapify(heap)
    while heap:
        share, _, queue = heapq.heappop(heap)
        places, changes = by_queue[queue], ledger.changes
        # With equal shares it is the turn of whoever comes first, as long as no share changes.
        until = heap[0][1] if heap and heap[0][0] == share else len(jobs)
        while places and places[-1] < until and ledger.changes == changes:
            yield jobs[places.pop()]
        if places:
            heapq.heappush(heap, (ledger.share(queue, promised=True), places[-1], queue))


def level_of(board: Board, job: Job) -> int:
    """How much a job has had: 0 for little; -1 if it goes first, since it waited too long."""
    worker = board.at_work.get(job.id)
    served = job.attained_service if worker is None else worker.served
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


@lru_cache(maxsize=1 << 17)
def _lot(seed: int, id: str) -> int:
    """Decides between jobs of the same moment; ids alone would favour whoever is called aaa."""
    return int.from_bytes(blake2b(f"{seed} {id}".encode(), digest_size=7).digest())
