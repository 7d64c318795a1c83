"""Who gets what nobody needs: workers beyond a job's minimum, on loan."""

from __future__ import annotations

import heapq

from orchestrator.scheduler.at_work import Worker, loan
from orchestrator.scheduler.board import Board
from orchestrator.scheduler.config import Policy
from orchestrator.scheduler.order import Keys
from orchestrator.scheduler.placement import extend
from orchestrator.scheduler.queues import covers, minus, needs, plus
from orchestrator.scheduler.reasons import Code
from orchestrator.scheduler.room import SOON, Shape
from orchestrator.scheduler.snapshot import Amounts, Job, JobState, NodeState

#: A job whose speed with more workers is not known is taken to lose a twentieth to each of them.
_LOSS = 0.05


def speed(job: Job, workers: int) -> float:
    """Relative to what one worker does, by the job's curve."""
    if workers <= 0:
        return 0.0
    if not job.speed_curve:
        return workers / (1 + _LOSS * (workers - 1))
    before, slower = 0, 0.0
    for count, faster in job.speed_curve:
        if workers <= count:
            return slower + (faster - slower) * (workers - before) / (count - before)
        before, slower = count, faster
    return slower


def hand_out(board: Board, keys: Keys) -> None:
    """Give spare room to jobs that can use it: in order, or to those that gain most (`ELASTIC`)."""
    if not any(worker.job.max_workers > worker.job.min_workers for worker in board.at_work.values()):
        return
    growing = [worker for worker in board.at_work.values() if _may_change(board, worker)]
    if not any(worker.job.max_workers > worker.job.min_workers for worker in growing):
        return
    if board.config.policy is Policy.ELASTIC:
        _to_those_that_gain_most(board, sorted(growing, key=lambda worker: worker.job.id))
        return
    workers = [board.at_work[job.id] for job in keys.sort(worker.job for worker in growing)]
    if board.config.policy is Policy.FAIR:
        shares = {queue: board.ledger.share(queue) for queue in {w.job.queue for w in growing}}
        workers.sort(key=lambda worker: shares[worker.job.queue])
    _grow_all(board, [(worker, worker.job.max_workers) for worker in workers])


def _may_change(board: Board, worker: Worker) -> bool:
    """Sizes settle: a job that changed a moment ago, or in this plan, is left alone."""
    if worker.starts:
        return True
    if worker.job.state is not JobState.RUNNING or worker.moved:
        return False
    since = board.now - worker.job.last_change_at
    if since < board.config.resize_every and worker.job.max_workers > worker.job.min_workers:
        board.wakes.append(worker.job.last_change_at + board.config.resize_every)
        return False
    return True


def _grow_all(board: Board, targets: list[tuple[Worker, int]]) -> None:
    """To so many workers each, in turn, as far as there is room."""
    full = set[Shape]()  # room only becomes less
    for worker, target in targets:
        if target <= worker.count:
            continue
        job, shape = worker.job, board.room.shape(worker.job)
        if shape in full or (wanted := board.ledger.growth_max(job, target - worker.count)) <= 0:
            continue
        slots = board.room.window(shape, 0, SOON + 1)
        if not slots.any():
            full.add(shape)
        elif spots := extend(slots, worker.spots, wanted, job.within, board.room, shape):
            board.grow(worker, spots, board.reason(Code.SPARE))


def _to_those_that_gain_most(board: Board, growing: list[Worker]) -> None:
    """Sizes as if all that is spare were handed out anew; then the way there, as far as there is room now.

    Who gains most: speed by the next worker over what the job has had so far. Of heavy-tailed jobs, which
    these are, one that has had little is likely to be over soon, so this is greedy for the mean completion
    time; jobs that have had about the same are served one after the other, as serving them side by side only
    delays the first.
    """
    growing = [worker for worker in growing if worker.job.max_workers > worker.job.min_workers]
    targets = _targets(board, growing)
    by_id = {worker.job.id: worker for worker in growing}
    for id, target in targets.items():
        worker = by_id[id]
        over = worker.count - max(target, worker.job.min_workers)
        if over > 0 and worker.lent:
            spots = loan(worker.spots, worker.count - over)
            fits = {node: min(n, worker.lent.get(node, 0)) for node, n in spots.items()}
            fits = {node: n for node, n in fits.items() if n}
            if fits:
                board.shrink(worker, fits, board.reason(Code.BALANCE), None)
    _grow_all(board, [(by_id[id], target) for id, target in targets.items() if not by_id[id].moved])


def _targets(board: Board, growing: list[Worker]) -> dict[str, int]:
    """How many workers each should have, who gains most first."""
    pool = _pool(board)
    sizes: dict[str, int] = {}
    heap = []
    levels = {worker.job.id: _level(worker) for worker in growing}
    for worker in growing:
        job, lent = worker.job, sum(worker.lent.values())
        pool = plus(pool, needs(job, lent))
        sizes[job.id] = worker.count - lent
        heap.append((*_turn(job, sizes[job.id], levels[job.id]), worker))
    heapq.heapify(heap)
    while heap:
        *_, worker = heapq.heappop(heap)
        job = worker.job
        allowed = worker.count + board.ledger.growth_max(job, job.max_workers - worker.count)
        step = _step(job, sizes[job.id], min(allowed, job.max_workers), pool)
        if step <= 0:
            continue
        pool = minus(pool, needs(job, step))
        sizes[job.id] += step
        heapq.heappush(heap, (*_turn(job, sizes[job.id], levels[job.id]), worker))
    return sizes


def _step(job: Job, size: int, most: int, pool: Amounts) -> int:
    """Workers to add before anybody else is asked: one, or all up to where its speed curve bends."""
    if size >= most or not covers(pool, needs(job, 1)):
        return 0
    bend = next((count for count, _ in job.speed_curve if count > size), size + 1)
    step = max(1, min(bend, most) - size)
    while step > 1 and not covers(pool, needs(job, step)):
        step = min(have // want for have, want in zip(pool, needs(job, 1), strict=True) if want)
    return step


def _turn(job: Job, size: int, level: int) -> tuple[float, float, str]:
    gain = (speed(job, size + 1) - speed(job, size)) / (job.units or 1.0)
    return -gain / (1 << min(level, 60)), job.submitted_at, job.id


def _level(worker: Worker) -> int:
    """What it has had so far, by powers of two of a unit-minute."""
    return int(worker.served / 60).bit_length()


def _pool(board: Board) -> Amounts:
    """What is free now and was promised to nobody."""
    pool = (0, 0, 0)
    up = [number for number, node in enumerate(board.nodes) if node.state is NodeState.UP]
    if up:
        free = board.room.free[: SOON + 1, up].min(axis=0).clip(min=0).sum(axis=0).tolist()
        pool = (free[0], free[1], free[2])
    return pool
