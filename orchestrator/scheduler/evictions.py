"""What jobs at work leave behind if they go, one after another, as arrays.

A search looks at up to thousands of these entries, for each of hundreds of jobs: so they are laid out once
for a plan.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from orchestrator.scheduler.at_work import Worker
from orchestrator.scheduler.board import Board
from orchestrator.scheduler.lacks import Lack
from orchestrator.scheduler.room import SOON, Ints, Selector, Spots
from orchestrator.scheduler.snapshot import Within

_KINDS = 3


@dataclass(frozen=True, slots=True)
class Evictions:
    """Steps that give room: first single workers on loan, then jobs that stop. All of a step go, or none.

    Attributes:
        lenders: whose worker process goes, by step; there are as many loans.
        workers, stops: whom somebody stops, by step after those: places in `workers`; last those who may not
            yet, the first to be free first.
        step, node, amounts, until: of entries, in the order of the steps: which node, what is given up there,
            (entries, kinds), and the time from which it counts as free in any case.
        total: (nodes, kinds), what all of them give up.
        lacks: for whom this was not enough, by which nodes they may use, what they have to share, and
            how often room had been given back.
    """

    lenders: Sequence[Worker]
    workers: Sequence[Worker]
    stops: Ints
    step: Ints
    node: Ints
    amounts: Ints
    until: NDArray[np.float64]
    total: Ints
    lacks: dict[tuple[Selector, Within, int], list[Lack]] = field(default_factory=dict)

    def stop(self, step: int) -> Worker:
        """Who stops in a step after the loans."""
        return self.workers[int(self.stops[step - len(self.lenders)])]


class Table:
    """What each job that may be stopped has beside its loans, by its place in the order in which they go."""

    def __init__(self, board: Board, workers: Sequence[Worker]) -> None:
        self.workers = workers
        self._board = board
        kept = [_without_loans(worker) for worker in workers]
        nodes = [node for spots in kept for node in spots]
        counts = [count for spots in kept for count in spots.values()]
        self._lengths = np.array([len(spots) for spots in kept], dtype=np.int64)
        self._begins = np.cumsum(self._lengths) - self._lengths
        whose = np.repeat(np.arange(len(workers)), self._lengths)
        requests = np.array([worker.job.request.amounts for worker in workers], dtype=np.int64)
        self._node = np.array(nodes, dtype=np.int64)
        self._amounts = requests.reshape(-1, _KINDS)[whose] * np.array(counts, dtype=np.int64)[:, None]
        self._ends = np.array([worker.end for worker in workers], dtype=np.float64)
        self.free_from = np.array([protected_until(board, worker) for worker in workers], dtype=np.float64)

    def evictions(self, lenders: Sequence[Worker], victims: Ints, *, late: bool) -> Evictions:
        """All loans, then these victims, by their places: those that may go at once before the others, or
        without these."""
        protected = self.free_from[victims] > self._board.now
        if protected.any():
            later, victims = victims[protected], victims[~protected]
            if late:
                later = later[np.argsort(self.free_from[later], kind="stable")]
                victims = np.concatenate((victims, later))
        lengths = self._lengths[victims]
        ends = np.cumsum(lengths)
        entries = np.arange(int(ends[-1]) if len(ends) else 0) + np.repeat(
            self._begins[victims] - (ends - lengths), lengths
        )
        step = np.repeat(np.arange(len(victims)), lengths)
        node, amounts = self._node[entries], self._amounts[entries]
        until = np.repeat(self._ends[victims], lengths)
        whose: list[Worker] = []
        if lenders:
            where, request = [], []
            for worker in lenders:
                for place, count in sorted(worker.lent.items()):
                    whose += [worker] * count
                    where += [place] * count
                    request += [worker.job.request.amounts] * count
            step = np.concatenate((np.arange(len(whose)), step + len(whose)))
            node = np.concatenate((np.array(where, dtype=np.int64), node))
            amounts = np.concatenate((np.array(request, dtype=np.int64).reshape(-1, _KINDS), amounts))
            until = np.concatenate((np.full(len(whose), -np.inf), until))  # later they count as free already
        count = len(self._board.nodes)
        total = np.empty((count, _KINDS), dtype=np.int64)
        for kind in range(_KINDS):
            total[:, kind] = np.bincount(node, weights=amounts[:, kind], minlength=count)
        return Evictions(
            lenders=whose,
            workers=self.workers,
            stops=victims,
            step=step,
            node=node,
            amounts=amounts,
            until=until,
            total=total,
        )


def _without_loans(worker: Worker) -> Spots:
    spots, lent = worker.spots, worker.lent
    if not lent:
        return spots
    return {node: count - lent.get(node, 0) for node, count in spots.items() if count != lent.get(node, 0)}


def protected_until(board: Board, worker: Worker) -> float:
    """A job that has started runs for a while, so that starting it was worth it."""
    job = worker.job
    begun = job.started_at if job.started_at is not None else job.last_change_at
    return begun + max(job.min_runtime, board.config.protect_restarts * job.restart_cost)


def rows_of(until: NDArray[np.float64], clock: NDArray[np.float64]) -> Ints:
    """The rows before which these entries count, as numbers of rows from "soon" on."""
    rows = np.searchsorted(clock, until, side="left") - SOON
    rows[until == np.inf] = len(clock) - SOON
    return np.maximum(rows, 1)
