"""Jobs on nodes that go away: their workers move, or the job does with fewer, or it stops in time."""

from __future__ import annotations

from orchestrator.scheduler.at_work import Worker
from orchestrator.scheduler.board import Board
from orchestrator.scheduler.placement import choose, extend
from orchestrator.scheduler.reasons import Code
from orchestrator.scheduler.room import SOON, Spots
from orchestrator.scheduler.snapshot import JobState, NodeState

#: A job that has nowhere to go stops so many seconds before its node does.
_LEAD_SECONDS = 60.0


def evacuate(board: Board) -> None:
    """Move workers off draining nodes. That new ones start before old ones stop is the supervisor's doing."""
    going = {n for n, node in enumerate(board.nodes) if node.state is NodeState.DRAINING}
    if not going:
        return
    for worker in sorted(board.at_work.values(), key=lambda worker: worker.job.id):
        if worker.job.state is JobState.RUNNING and going & worker.spots.keys():
            _move(board, worker, going)


def _move(board: Board, worker: Worker, going: set[int]) -> None:
    job = worker.job
    stay = {node: workers for node, workers in worker.spots.items() if node not in going}
    lost = worker.count - sum(stay.values())
    more = _elsewhere(board, worker, stay, lost)
    names = sorted(board.nodes[node].id for node in going & worker.spots.keys())
    reason = board.reason(Code.DRAIN, node=", ".join(names))
    if sum(stay.values()) + sum(more.values()) >= job.min_workers:
        board.move(worker, stay, more, reason)
        return
    etas = [board.nodes[node].eta for node in going & worker.spots.keys()]
    known = [eta for eta in etas if eta is not None]
    if not known:
        return  # nobody hurries
    if min(known) - _LEAD_SECONDS <= board.now:
        board.stop(worker, reason, None)
    else:
        board.wakes.append(min(known) - _LEAD_SECONDS)


def _elsewhere(board: Board, worker: Worker, stay: Spots, lost: int) -> Spots:
    job, shape = worker.job, board.room.shape(worker.job)
    slots = board.room.window(shape, 0, SOON + 1)
    if stay:
        return extend(slots, stay, lost, job.within, board.room, shape)
    for workers in (lost, job.min_workers):
        spots = choose(slots, workers, job.within, board.room, shape)
        if spots is not None:
            return spots
    return {}
