"""The fewest of a sequence of evictions after which a gang has room.

Room is a sum over nodes, so the sequence is looked at in one go: for each entry, what fits on its node after
it. As soon as there is enough, the set is walked back, and whoever is not needed stays.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from orchestrator.scheduler.evictions import Evictions, rows_of
from orchestrator.scheduler.placement import enough, most
from orchestrator.scheduler.room import SOON, Ints, Room, Shape
from orchestrator.scheduler.snapshot import Within

#: Entries that are looked at first, and how many times more if they do not do.
_FIRST, _MORE = 48, 6


@dataclass(frozen=True, slots=True)
class Gang:
    """Who looks for room. `slots`: (nodes,), how many of its workers fit in all rows from "soon" to `end`."""

    shape: Shape
    workers: int
    within: Within
    end: int
    slots: Ints


@dataclass(frozen=True, slots=True)
class Found:
    """These steps do, in their order; `slots`: (nodes,), how many workers fit after them."""

    steps: list[int]
    slots: Ints


@dataclass(frozen=True, slots=True)
class _Entries:
    """Those of the evictions that matter; `rows`: how many, from "soon" on, each gives something in."""

    step: Ints
    node: Ints
    amounts: Ints
    rows: Ints


def search(room: Room, gang: Gang, evictions: Evictions, useful: NDArray[np.bool_]) -> Found | int:
    """The steps that have to be taken, or how many workers fit if all are.

    Args:
        useful: (nodes,), whether more could fit there after all evictions than does now.
    """
    that_matter = np.flatnonzero(useful[evictions.node])
    step, size = evictions.step[that_matter], _FIRST
    while True:
        looked_at = _looked_at(room, gang, evictions, that_matter[:size])
        fits = _fits(room, gang, looked_at)
        reached = np.flatnonzero(_reach(room, gang, looked_at.node, fits) >= gang.workers)
        if len(reached):
            count = int(np.searchsorted(step, step[reached[0]], side="right"))
            needed = _looked_at(room, gang, evictions, that_matter[:count])
            return _WalkBack(room, gang, needed).run(evictions)
        if size >= len(that_matter):
            slots = gang.slots.copy()
            slots[looked_at.node] = fits  # the last entry of a node counts: so numpy assigns
            return most(slots, gang.within, room)
        size *= _MORE


def _looked_at(room: Room, gang: Gang, evictions: Evictions, entries: Ints) -> _Entries:
    rows = np.minimum(rows_of(evictions.until[entries], room.times), gang.end - SOON)
    return _Entries(evictions.step[entries], evictions.node[entries], evictions.amounts[entries], rows)


def _fits(room: Room, gang: Gang, entries: _Entries) -> Ints:
    """How many workers fit on each entry's node after it and all entries before it."""
    by_node = np.argsort(entries.node, kind="stable")
    places, amounts = entries.node[by_node], entries.amounts[by_node]
    free = room.free[SOON : gang.end]
    if len(free) > 1:
        counts = np.arange(len(free))[:, None] < entries.rows[by_node]
        amounts = amounts * counts[:, :, None]
    else:
        amounts = amounts[None]
    given = np.cumsum(amounts, axis=1)
    bounds = _bounds(places)
    opens = bounds[:-1]
    before = given[:, opens] - amounts[:, opens]
    given -= np.repeat(before, np.diff(bounds), axis=1)
    given += free[:, places]
    fits = np.empty_like(entries.node)
    fits[by_node] = gang.shape.fit(given.min(axis=0))
    return fits


def _bounds(values: Ints) -> Ints:
    """Where each run of equal values begins, and where the last one ends."""
    changes = np.ones(len(values) + 1, dtype=np.bool_)
    np.not_equal(values[1:], values[:-1], out=changes[1:-1])
    return np.flatnonzero(changes) if len(values) else np.zeros(1, dtype=np.int64)


def _reach(room: Room, gang: Gang, node: Ints, fits: Ints) -> Ints:
    """After each entry, how many workers of one gang fit on the nodes that its node is one of."""
    if gang.within is Within.NODE:
        return fits
    before = gang.slots[node]
    by_node = np.argsort(node, kind="stable")
    again = np.flatnonzero(node[by_node][1:] == node[by_node][:-1])
    before[by_node[again + 1]] = fits[by_node[again]]
    more = fits - before
    if gang.within is Within.ANYWHERE:
        return int(gang.slots.sum()) + np.cumsum(more)
    reach = np.empty_like(fits)
    for zone in np.unique(room.zone[node]).tolist():
        mine = room.zone[node] == zone
        reach[mine] = int(gang.slots[room.zone == zone].sum()) + np.cumsum(more[mine])
    return reach


class _WalkBack:
    """Gives back whatever is not needed, beginning with what hurts most: the last.

    What fits on a node is the least of some limits, each of a kind in a stretch of rows in which nobody ends.
    Most of them never bind, even if nobody leaves, and are left out.
    """

    def __init__(self, room: Room, gang: Gang, entries: _Entries) -> None:
        self._gang, self._room, self._step = gang, room, entries.step
        whole, kinds = gang.end - SOON, np.flatnonzero(gang.shape.vector)
        stretches = np.unique(np.r_[0, entries.rows[entries.rows < whole]])
        self._places, self._whose = np.unique(entries.node, return_inverse=True)
        free = room.free[SOON : gang.end][:, self._places][..., kinds]
        before = np.minimum.reduceat(free, stretches, axis=0)
        gives = entries.amounts[:, None, kinds] * (stretches < entries.rows[:, None])[..., None]
        after = before.transpose(1, 0, 2).copy()  # (nodes, stretches, kinds), as all have gone
        np.add.at(after, self._whose, gives)
        wants = gang.shape.vector[kinds]
        self._fits = np.maximum((after // wants).min(axis=(1, 2)), 0)
        binding = (before // wants < self._fits[:, None]).any(axis=1)
        self._wants = np.broadcast_to(wants, binding.shape)[binding]
        self._gives, self._left = gives[:, binding], after[:, binding]
        self._slots = gang.slots.copy()
        self._slots[self._places] = self._fits

    def run(self, evictions: Evictions) -> Found:
        loans = len(evictions.lenders)
        last, entries = int(self._step[-1]), np.arange(len(self._step))[::-1]
        step = self._step[entries]
        # Without the last there was not enough.
        kept = [last, *self._thinned(entries[(step < last) & (step >= loans)])]
        # What a job has on loan goes if it stops.
        stopped = {evictions.stop(step).job.id for step in kept if step >= loans}
        go = np.array([worker.job.id in stopped for worker in evictions.lenders], dtype=np.bool_)
        lent = entries[(step < last) & (step < loans)]
        stays = go[self._step[lent]]
        kept += [*self._step[lent[stays]].tolist(), *self._thinned(lent[~stays])]
        return Found(steps=sorted(kept), slots=self._slots)

    def _thinned(self, entries: Ints) -> list[int]:
        """Which steps are needed, of those whose entries these are; the others are given back in this order.

        Where a whole block of them can be given back, each could, one after the other.
        """
        step = self._step[entries]
        bounds = _bounds(step)
        count = block = len(bounds) - 1
        kept, at = list[int](), 0
        while at < count:
            block = min(block, count - at)
            if self._give_back(entries[bounds[at] : bounds[at + block]]):
                at, block = at + block, block * 4
            elif block > 1:
                block = max(1, block // 4)
            else:
                kept.append(int(step[bounds[at]]))
                at += 1
        return kept

    def _give_back(self, entries: Ints) -> bool:
        """Give these back, if there is enough without."""
        left = self._left.copy()
        np.subtract.at(left, self._whose[entries], self._gives[entries])
        limits = (left // self._wants).min(axis=1, initial=1 << 20)
        fits, slots = np.maximum(np.minimum(self._fits, limits), 0), self._slots.copy()
        slots[self._places] = fits
        if not enough(slots, self._gang.workers, self._gang.within, self._room):
            return False
        self._left, self._fits, self._slots = left, fits, slots
        return True
