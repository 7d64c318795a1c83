"""When to plan again, though nothing happens."""

from __future__ import annotations

from orchestrator.scheduler.at_work import Worker, service
from orchestrator.scheduler.board import Board
from orchestrator.scheduler.order import level_at
from orchestrator.scheduler.snapshot import JobState


def next_wake(board: Board) -> float | None:
    """The first moment at which time alone can change the plan; None for never."""
    wakes = list(board.wakes)
    config = board.config
    waiting = [board.pending[id] for id in board.explain]
    if config.promotes and waiting:
        if config.by_service:
            wakes += [at for worker in board.at_work.values() if (at := _falls_at(board, worker)) is not None]
        wakes += [
            max(job.last_change_at, job.submitted_at) + config.promote_after
            for job in waiting
            if job.id not in board.promoted
        ]
    later = [at for at in wakes if at > board.now]
    return min(later, default=None)


def _falls_at(board: Board, worker: Worker) -> float | None:
    """When a running job has had enough to stand behind others that it stood before."""
    job, levels = worker.job, board.config.service_levels
    workers = worker.count
    pace = job.units * workers
    if pace <= 0 or job.state is not JobState.RUNNING:
        return None
    served = service(job, workers, board.now)
    level = level_at(board, job, served)
    if level == -1:
        bar = board.promoted[job.id]
    elif level < len(levels):
        bar = levels[level]
    else:
        return None
    return board.now + max(0.0, bar - served) / pace
