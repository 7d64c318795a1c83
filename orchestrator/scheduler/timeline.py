"""The room as it is and as it will be, from when those at work are expected to be over."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from math import inf

import numpy as np

from orchestrator.scheduler.at_work import Worker
from orchestrator.scheduler.room import SOON, Ints, Room
from orchestrator.scheduler.snapshot import Node, NodeState

#: Rows that ends of running jobs may fill; promises need some more.
_ENDS_MAX = 40


def build(
    nodes: Sequence[Node], held: Sequence[Worker], others: Iterable[float], now: float, *, ahead: bool
) -> Room:
    """The room, as it is and as it will be.

    Args:
        others: more moments at which something changes.
        ahead: with rows for later than soon.
    """
    etas = [node.eta for node in nodes if node.state is NodeState.BOOTING and node.eta is not None]
    moments = (worker.end for worker in held)
    times = [now, now, *(_thinned({*moments, *etas, *others}, now) if ahead else ())]
    change = np.zeros((len(times) + 1, len(nodes), 3), dtype=np.int64)
    for number, machine in enumerate(nodes):
        if machine.state is NodeState.UP:
            change[0, number] = machine.capacity.amounts
        elif machine.state is NodeState.BOOTING and ahead and machine.eta is not None:
            change[_row(times, machine.eta), number] = machine.capacity.amounts
    if held:
        nodes_of = np.array([node for worker in held for node in worker.spots], dtype=np.int64)
        counts = [count for worker in held for count in worker.spots.values()]
        lengths = [len(worker.spots) for worker in held]
        ends = np.array([worker.end for worker in held]) if ahead else np.full(len(held), inf)
        rows = np.maximum(np.searchsorted(times, ends, side="left"), min(SOON + 1, len(times)))
        requests = np.array([worker.job.request.amounts for worker in held], dtype=np.int64)
        whose = np.repeat(np.arange(len(held)), lengths)
        amounts = requests[whose] * np.array(counts, dtype=np.int64)[:, None]
        np.subtract.at(change[0], nodes_of, amounts)
        np.add.at(change, (rows[whose], nodes_of), amounts)
        for number, worker in enumerate(held):
            if worker.leaving or worker.lent:
                _leave_early(change, worker, requests[number], int(rows[number]), ahead=ahead)
    free = np.cumsum(change[:-1], axis=0)
    unusable = [number for number, node in enumerate(nodes) if node.state is not NodeState.UP]
    if unusable:
        free[:, unusable] = np.maximum(free[:, unusable], 0)  # who is still there holds nothing that counts
    return Room(nodes, times, free)


def _leave_early(change: Ints, worker: Worker, request: Ints, end: int, *, ahead: bool) -> None:
    """What goes before its job is over: those who leave by themselves, and later all that is on loan."""
    for node, workers in worker.leaving.items():
        change[0, node] -= request * workers
        change[SOON, node] += request * workers
    if ahead:
        for node, workers in worker.lent.items():
            change[SOON + 1, node] += request * workers
            change[end, node] -= request * workers


def _row(times: Sequence[float], time: float) -> int:
    """The first row after "soon" that does not begin before this time."""
    return bisect_left(times, time, lo=min(SOON + 1, len(times)))


def _thinned(moments: set[float], now: float) -> list[float]:
    """At most so many of these moments, the last among them. Ends between two count as the later one's."""
    later = sorted(moment for moment in moments if now < moment < inf)
    if len(later) <= _ENDS_MAX:
        return later
    picks = [(number + 1) * len(later) // _ENDS_MAX - 1 for number in range(_ENDS_MAX)]
    return [later[pick] for pick in picks]
