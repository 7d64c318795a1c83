"""Which nodes to add, for whom, and which to let go.

Nodes are added for a gang that has no room and none in sight, all that it lacks at once; they are kept for
it, and so is what it has of the nodes that are there. A type of nodes that could not be had in a zone is
tried again after a while that doubles, so many times, and then left alone for long.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from orchestrator.scheduler.actions import AddNodes, DrainNode
from orchestrator.scheduler.board import Board
from orchestrator.scheduler.placement import choose
from orchestrator.scheduler.reasons import Code, Fact, Reason
from orchestrator.scheduler.room import SOON, Shape, Spots
from orchestrator.scheduler.snapshot import Amounts, Job, Market, Node, NodeState, NodeType, Within

#: Who waits for one of these waits for room.
_LACKS_ROOM = {
    *(Code.NO_ROOM, Code.BEHIND, Code.WOULD_DELAY, Code.TOO_LARGE, Code.NO_SUCH_NODE),
    *(Code.PROMISED, Code.PROTECTED, Code.DEADLINE, Code.NODES_BOOTING),
}


@dataclass(frozen=True, slots=True)
class _Offer:
    """So many nodes of a type in a zone, and which of the room that is there goes with them."""

    type: NodeType
    zone: str
    count: int
    beside: Spots

    @property
    def worth(self) -> tuple[float, float, str, int]:
        """The cheapest, then the soonest."""
        return (
            self.type.price * self.count,
            self.type.boot_seconds,
            self.type.id,
            self.type.zones.index(self.zone),
        )


def scale(board: Board, waiting: Iterable[Job]) -> tuple[list[AddNodes], list[DrainNode]]:
    """Nodes to add for those who wait, in their order, and nodes to let go."""
    if not board.config.scale_nodes or not board.snapshot.node_types:
        return [], []
    added: list[AddNodes] = []
    for job in waiting:
        if len(added) >= board.config.launches_max:
            break
        reason = board.explain.get(job.id)
        if reason is None or reason.code not in _LACKS_ROOM:
            continue
        promise = board.promises.get(job.id)
        if promise is not None and promise.reservation.firm:
            continue
        offer = _best_offer(board, job, added)
        if offer is None or (reason.eta is not None and reason.eta <= board.now + offer.type.boot_seconds):
            continue
        board.lift(job)
        if offer.beside:
            board.promise(job, offer.beside, SOON, start_at=board.now + offer.type.boot_seconds)
        booting = offer.count + sum(
            board.nodes[n].state is NodeState.BOOTING for n in board.kept.get(job.id, ())
        )
        eta = board.now + offer.type.boot_seconds
        board.explain[job.id] = Reason(code=Code.NODES_BOOTING, facts={"nodes": booting}, eta=eta)
        why = Reason(code=Code.GANG, facts={"job": job.id})
        added.append(
            AddNodes(type=offer.type.id, zone=offer.zone, count=offer.count, for_job=job.id, reason=why)
        )
    return added, _idle(board, {action.for_job for action in added})


def _best_offer(board: Board, job: Job, added: list[AddNodes]) -> _Offer | None:
    """The cheapest way to a whole gang; None if there is none now, or nothing is lacking."""
    offers, refused = [], []
    for type in board.snapshot.node_types:
        if type.market is Market.SPOT and not job.preemptible:
            continue
        if any(type.labels.get(name) != value for name, value in job.selector.items()):
            continue
        there = sum(n.type == type.id and n.state is not NodeState.DRAINING for n in board.nodes)
        room_for = type.max_count - there - sum(a.count for a in added if a.type == type.id)
        for zone in type.zones:
            offer = _offer(board, job, type, zone)
            if offer is None or offer.count > room_for:
                continue
            if offer.count == 0:
                return None
            until, failures = _refused_until(board, type.id, zone)
            if until is not None:
                refused.append((until, failures, type.id))
            else:
                offers.append(offer)
    if offers:
        return min(offers, key=lambda offer: offer.worth)
    if refused:
        until, failures, id = min(refused)
        board.wakes.append(until)
        if job.id not in board.promises and not board.kept.get(job.id):
            facts: dict[str, Fact] = {"type": id, "failures": failures, "until": until}
            board.explain[job.id] = Reason(code=Code.NODES_REFUSED, facts=facts)
    return None


def _offer(board: Board, job: Job, type: NodeType, zone: str) -> _Offer | None:
    """How many nodes of this type a gang lacks, given what there is for it already."""
    shape = board.room.shape(job)
    each = _fits(shape, type.capacity.amounts)
    if each == 0:
        return None
    mine = [board.nodes[number] for number in board.kept.get(job.id, ())]
    if job.within is Within.NODE:
        if any(_fits(shape, node.capacity.amounts) >= job.min_workers for node in mine):
            return _Offer(type=type, zone=zone, count=0, beside={})
        return _Offer(type=type, zone=zone, count=1, beside={}) if each >= job.min_workers else None
    slots = board.room.window(shape, 0, SOON + 1)
    if job.within is Within.ZONE:
        mine = [node for node in mine if node.zone == zone]
        slots = np.where([node.zone == zone for node in board.nodes], slots, 0)
    lacks = job.min_workers - sum(_fits(shape, node.capacity.amounts) for node in mine)
    there = min(max(0, lacks), int(slots.sum()))
    beside = choose(slots, there, Within.ANYWHERE, board.room, shape) if there else {}
    count = -(-(lacks - there) // each) if lacks > there else 0
    return _Offer(type=type, zone=zone, count=count, beside=beside or {})


def _fits(shape: Shape, amounts: Amounts) -> int:
    return int(shape.fit(np.array([amounts], dtype=np.int64))[0])


def _refused_until(board: Board, type: str, zone: str) -> tuple[float | None, int]:
    """When a type may be tried again in a zone, or None if it may now; and how often it failed."""
    config = board.config
    for trouble in board.snapshot.launch_troubles:
        if (trouble.type, trouble.zone) != (type, zone) or trouble.failures <= 0:
            continue
        wait = config.launch_backoff * 2.0 ** min(trouble.failures - 1, 30)
        if trouble.failures >= config.launch_attempts_max:
            wait = config.launch_forget
        if board.now < trouble.failed_at + wait:
            return trouble.failed_at + wait, trouble.failures
    return None, 0


def _idle(board: Board, asked_for: set[str]) -> list[DrainNode]:
    """Nodes that we added, where nothing has run for a while and nothing is about to."""
    busy = {allocation.node for allocation in board.snapshot.allocations}
    wanted: set[int] = set()
    for worker in board.at_work.values():
        wanted |= worker.spots.keys()
    for promise in board.promises.values():
        wanted |= promise.spots.keys()
    left = {
        type.id: sum(n.type == type.id and n.state is not NodeState.DRAINING for n in board.nodes)
        - type.min_count
        for type in board.snapshot.node_types
    }
    drained = []
    for number, node in enumerate(board.nodes):
        if node.state is not NodeState.UP or node.idle_since is None or left.get(node.type, 0) <= 0:
            continue
        if node.id in busy or number in wanted or _gang_comes(board, node, asked_for):
            continue
        if board.now - node.idle_since < board.config.idle_seconds:
            board.wakes.append(node.idle_since + board.config.idle_seconds)
            continue
        left[node.type] -= 1
        seconds = round(board.now - node.idle_since)
        drained.append(DrainNode(node=node.id, reason=Reason(code=Code.IDLE, facts={"seconds": seconds})))
    return drained


def _gang_comes(board: Board, node: Node, asked_for: set[str]) -> bool:
    """Whether the gang that a node was added for still waits for others of its nodes."""
    if node.for_job is None or node.for_job not in board.pending:
        return False
    if node.for_job in asked_for:
        return True
    return any(board.nodes[n].state is NodeState.BOOTING for n in board.kept.get(node.for_job, ()))
