"""How much is free where, now and later: the one mutable thing of a plan that is being made.

Time is cut into rows. Row 0 is now; row 1 is "soon", when those who were told to leave have left; the others
are the moments at which running jobs are expected to end. `free[row, node, kind]` holds from its row's time
to the next one's. What is promised for later is taken from later rows, so whether a job can start now without
delaying a promise is one
question: does it fit in all the rows that it would run in?
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from math import inf

import numpy as np
from numpy.typing import NDArray

from orchestrator.scheduler.snapshot import Amounts, Job, Node, NodeState

Ints = NDArray[np.int64]
#: Node's number → workers.
Spots = dict[int, int]
#: Labels that a node must have, by name.
Selector = tuple[tuple[str, str], ...]

SOON = 1
#: More rows make promises more exact, and plans slower.
ROWS_MAX = 64
_PLENTY = 1 << 20


class Shape:
    """Jobs whose workers ask for the same of a node, and how many of these fit: `slots[row, node]`."""

    __slots__ = ("amounts", "eligible", "prefers_plain", "rows", "seen", "selector", "slots", "vector")

    def __init__(self, amounts: Amounts, selector: Selector, eligible: NDArray[np.bool_]) -> None:
        self.amounts = amounts
        self.selector = selector
        self.vector = np.array(amounts, dtype=np.int64)
        self.eligible = eligible
        self.prefers_plain = amounts[1] == 0  # nodes without GPUs, where it needs none
        self.slots = self.rows = np.empty((0, 0), dtype=np.int64)
        self.seen = -1

    def only(self, kind: int) -> Amounts:
        """What it asks for of one kind."""
        cpu, gpu, memory = (amount if other == kind else 0 for other, amount in enumerate(self.amounts))
        return cpu, gpu, memory

    def fit(self, free: Ints) -> Ints:
        """How many workers fit into each of free[..., kind]."""
        found: Ints | None = None
        for kind, amount in enumerate(self.amounts):
            if amount > 0:
                here = free[..., kind] // amount if amount > 1 else free[..., kind]
                found = here if found is None else np.minimum(found, here)
        if found is None:
            return np.full(free.shape[:-1], _PLENTY, dtype=np.int64)
        return np.maximum(found, 0)


class Room:
    """Free resources by row, node and kind.

    Args:
        nodes: in the order of their numbers.
        times: of the rows, rising; the first two are both now.
        free: (rows, nodes, kinds); may be negative where more leaves later than is free.
    """

    def __init__(self, nodes: Sequence[Node], times: Sequence[float], free: Ints) -> None:
        self.nodes = nodes
        self.times = list(times)
        self.clock = np.array(times, dtype=np.float64)  # the same
        self._rows = _with_spare_rows(free)
        self.free = self._rows[: len(times)]
        zones = {zone: number for number, zone in enumerate(sorted({node.zone for node in nodes}))}
        self.zone = np.array([zones[node.zone] for node in nodes], dtype=np.int64)
        self.zones = len(zones)
        self.has_gpus = np.array([node.capacity.gpu_millis > 0 for node in nodes], dtype=np.int64)
        self._shapes: dict[tuple[Amounts, Selector], Shape] = {}
        self._eligible: dict[Selector, NDArray[np.bool_]] = {}
        self._changed: list[int] = []

    def shape(self, job: Job) -> Shape:
        """Its shape. Jobs with equal requests and selectors have the same one."""
        selector = tuple(sorted(job.selector.items())) if job.selector else ()
        request = job.request
        key = ((request.cpu_millis, request.gpu_millis, request.memory_mib), selector)
        found = self._shapes.get(key)
        if found is None:
            found = self._shapes[key] = Shape(key[0], selector, self._that_match(selector, job.selector))
        return found

    def slots(self, shape: Shape) -> Ints:
        """Workers of this shape that fit, (rows, nodes)."""
        if shape.seen < 0:
            shape.rows = _with_spare_rows(shape.fit(self.free) * shape.eligible)
            shape.slots = shape.rows[: len(self.times)]
        elif shape.seen < len(self._changed):
            nodes = sorted(set(self._changed[shape.seen :]))
            shape.slots[:, nodes] = shape.fit(self.free[:, nodes]) * shape.eligible[nodes]
        shape.seen = len(self._changed)
        return shape.slots

    def window(self, shape: Shape, first: int, end: int) -> Ints:
        """Workers that fit on each node in all of these rows."""
        rows = self.slots(shape)[first:end]
        least: Ints = rows[0] if len(rows) == 1 else rows.min(axis=0)
        return least

    def row_of(self, time: float) -> int:
        """The first row that does not begin before this time; the number of rows if there is none."""
        return bisect_left(self.times, time)

    def end_row(self, first: int, seconds: float | None) -> int:
        """The row before which a job is over that starts in that row and takes so long."""
        if seconds is None:
            return len(self.times)
        return max(first + 1, SOON + 1, self.row_of(self.times[first] + seconds))

    def cut(self, time: float) -> None:
        """Have a row begin at this time, if rows are left; else what ends then ends with the next row."""
        row = self.row_of(time)
        if len(self.times) >= ROWS_MAX or row <= SOON:
            return
        if row < len(self.times) and self.times[row] == time:
            return
        self.times.insert(row, time)
        self.clock = np.array(self.times, dtype=np.float64)
        self.free = _with_row_twice(self._rows, row - 1, len(self.times))
        for shape in self._shapes.values():
            if shape.seen >= 0:
                shape.slots = _with_row_twice(shape.rows, row - 1, len(self.times))

    def time_of(self, row: int) -> float:
        """When a row begins; never, after the last."""
        return self.times[row] if row < len(self.times) else inf

    def take(self, shape: Shape, spots: Mapping[int, int], first: int, end: int) -> None:
        """These workers need their room in these rows."""
        for node, workers in spots.items():
            self.free[first:end, node] -= shape.vector * workers
            self._changed.append(node)

    def give(self, shape: Shape, spots: Mapping[int, int], first: int, end: int) -> None:
        """These workers need no room in these rows."""
        self.take(shape, {node: -workers for node, workers in spots.items()}, first, end)

    def open(self, nodes: Sequence[int], closed: bool = False) -> None:
        """Nodes that are kept for somebody are there for whoever asks now; or no longer."""
        sign = -1 if closed else 1
        for node in nodes:
            self.free[:, node] += sign * np.array(self.nodes[node].capacity.amounts, dtype=np.int64)
            self._changed.append(node)

    def _that_match(self, key: Selector, selector: Mapping[str, str]) -> NDArray[np.bool_]:
        if key not in self._eligible:
            self._eligible[key] = np.array(
                [
                    node.state is not NodeState.DRAINING
                    and all(node.labels.get(name) == value for name, value in selector.items())
                    for node in self.nodes
                ],
                dtype=np.bool_,
            )
        return self._eligible[key]


def _with_spare_rows(rows: Ints) -> Ints:
    """The same, in a larger array: rows are inserted into it."""
    larger = np.empty((max(ROWS_MAX, len(rows)), *rows.shape[1:]), dtype=np.int64)
    larger[: len(rows)] = rows
    return larger


def _with_row_twice(rows: Ints, row: int, count: int) -> Ints:
    """Of so many rows then; those behind it move on."""
    rows[row + 1 : count] = rows[row : count - 1]
    return rows[:count]
