"""When to plan again, though nothing happens."""

from __future__ import annotations

from bisect import bisect_right

from orchestrator.scheduler.board import Board
from orchestrator.scheduler.snapshot import JobState


def next_wake(board: Board) -> float | None:
    """The first moment at which time alone can change the plan; None for never."""
    wakes = list(board.wakes)
    config = board.config
    waiting = [board.pending[id] for id in board.explain]
    if config.promotes and waiting:
        if config.by_service:
            wakes += _falls_at(board)
        after, promoted = config.promote_after, board.promoted
        wakes += [
            (job.last_change_at if job.last_change_at > job.submitted_at else job.submitted_at) + after
            for job in waiting
            if job.id not in promoted
        ]
    later = [at for at in wakes if at > board.now]
    return min(later, default=None)


def _falls_at(board: Board) -> list[float]:
    """When running jobs have had enough to stand behind others that they stood before."""
    found, levels, now, promoted = [], board.config.service_levels, board.now, board.promoted
    for id, worker in board.at_work.items():
        job, served = worker.job, worker.served
        if job.state is not JobState.RUNNING or (pace := job.units * worker.count) <= 0:
            continue
        level = bisect_right(levels, served)
        if promoted and served < promoted.get(id, 0.0):
            found.append(now + (promoted[id] - served) / pace)
        elif level < len(levels):
            found.append(now + (levels[level] - served) / pace)
    return found
