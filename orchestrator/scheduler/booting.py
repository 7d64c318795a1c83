"""A gang whose nodes are on their way."""

from __future__ import annotations

from orchestrator.scheduler.board import Board
from orchestrator.scheduler.reasons import Code, Reason
from orchestrator.scheduler.room import SOON
from orchestrator.scheduler.snapshot import Job, NodeState


def booting(board: Board, job: Job) -> Reason | None:
    """What a job waits for whose nodes are on their way; None if none are."""
    nodes = [board.nodes[number] for number in board.kept.get(job.id, ())]
    coming = [node for node in nodes if node.state is NodeState.BOOTING]
    if not coming:
        return None
    etas = [node.eta for node in coming if node.eta is not None]
    eta = max(etas) if len(etas) == len(coming) else None
    return Reason(code=Code.NODES_BOOTING, facts={"nodes": len(coming)}, eta=eta)


def hold_the_rest(board: Board, job: Job) -> None:
    """What a gang has of the nodes that are there is kept while the others boot."""
    reservation = board.reserved.get(job.id)
    spots = board.spots(reservation.places) if reservation is not None else None
    if reservation is None or not spots or reservation.firm:
        return
    slots = board.room.window(board.room.shape(job), 0, SOON + 1)
    if all(slots[node] >= workers for node, workers in spots.items()):
        board.promise(job, spots, SOON, start_at=reservation.start_at)
