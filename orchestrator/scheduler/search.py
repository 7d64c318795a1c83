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

    def first(self, count: int) -> _Entries:
        """So many of them."""
        return _Entries(self.step[:count], self.node[:count], self.amounts[:count], self.rows[:count])


def search(room: Room, gang: Gang, evictions: Evictions, useful: NDArray[np.bool_]) -> Found | int:
    """The steps that have to be taken, or how many workers fit if all are.

    Args:
        useful: (nodes,), whether more could fit there after all evictions than does now.
    """
    that_matter = np.flatnonzero(useful[evictions.node])
    size = _FIRST
    while True:
        entries = _looked_at(room, gang, evictions, that_matter[:size])
        trial = _Trial(room, gang, entries)
        reached = np.flatnonzero(trial.reach(room) >= gang.workers)
        if len(reached):
            last = evictions.step[that_matter[reached[0]]]
            count = int(np.searchsorted(evictions.step[that_matter], last, side="right"))
            if count > len(entries.step):
                entries = _looked_at(room, gang, evictions, that_matter[:count])
                trial = _Trial(room, gang, entries)
            prefix = trial.prefix(count)
            if not len(prefix.spare):
                return Found(steps=np.unique(entries.step[:count]).tolist(), slots=prefix.slots)
            return _WalkBack(room, gang, entries.first(count)).run(evictions, prefix.spare)
        if size >= len(that_matter):
            slots = gang.slots.copy()
            slots[entries.node] = trial.fits  # the last entry of a node counts: so numpy assigns
            return most(slots, gang.within, room)
        size *= _MORE


def _looked_at(room: Room, gang: Gang, evictions: Evictions, which: Ints) -> _Entries:
    rows = np.minimum(rows_of(evictions.until[which], room.clock), gang.end - SOON)
    return _Entries(evictions.step[which], evictions.node[which], evictions.amounts[which], rows)


@dataclass(frozen=True, slots=True)
class _Prefix:
    """What is so when the first entries are taken, as far as there is enough.

    Attributes:
        spare: steps, but for the last, each of which could be left out if all others were taken. Any other is
            needed also if some are given back.
        slots: (nodes,), how many workers fit.
    """

    spare: Ints
    slots: Ints


class _Trial:
    """What happens if entries are taken, one after the other.

    Arrays are (rows, entries, kinds) or (entries,), with those of one node side by side, in their order.
    """

    def __init__(self, room: Room, gang: Gang, entries: _Entries) -> None:
        self._gang, self._step = gang, entries.step
        self._by_node = by_node = np.argsort(entries.node, kind="stable")
        self._places = places = entries.node[by_node]
        free = room.free[SOON : gang.end]
        amounts = entries.amounts[by_node][None]
        if len(free) > 1:
            amounts = amounts * (np.arange(len(free))[:, None] < entries.rows[by_node])[:, :, None]
        self._gives = amounts
        given = np.cumsum(amounts, axis=1)
        self._bounds = _bounds(places)
        opens, lengths = self._bounds[:-1], np.diff(self._bounds)
        given -= np.repeat(given[:, opens] - amounts[:, opens], lengths, axis=1)
        given += free[:, places]
        self._left = given  # on the entry's node, after it and all before it
        self._fits = gang.shape.fit(given.min(axis=0))

    @property
    def fits(self) -> Ints:
        """How many workers fit on each entry's node after it and all before it, in the entries' order."""
        found = np.empty_like(self._fits)
        found[self._by_node] = self._fits
        return found

    def reach(self, room: Room) -> Ints:
        """After each entry, in their order: how many workers of one gang fit on the nodes that its node is
        one of."""
        gang = self._gang
        if gang.within is Within.NODE:
            return self.fits
        opens = self._bounds[:-1]
        before = np.empty_like(self._fits)
        before[1:] = self._fits[:-1]
        before[opens] = gang.slots[self._places[opens]]
        more = np.empty_like(before)
        more[self._by_node] = self._fits - before
        if gang.within is Within.ANYWHERE:
            return int(gang.slots.sum()) + np.cumsum(more)
        zone = np.empty_like(before)
        zone[self._by_node] = room.zone[self._places]
        reach = np.empty_like(before)
        for number in np.unique(zone).tolist():
            mine = zone == number
            reach[mine] = int(gang.slots[room.zone == number].sum()) + np.cumsum(more[mine])
        return reach

    def prefix(self, count: int) -> _Prefix:
        """Of the first so many entries."""
        gang, mine = self._gang, self._by_node < count
        places, fits, step = self._places[mine], self._fits[mine], self._step[self._by_node[mine]]
        bounds = _bounds(places)
        ends, slots = bounds[1:] - 1, gang.slots.copy()
        slots[places[ends]] = fits[ends]
        before_last = int(self._step[count - 1])
        if gang.within is not Within.ANYWHERE:
            return _Prefix(np.unique(step[step < before_last]), slots)
        last = np.repeat(ends, np.diff(bounds))  # of each entry's node
        left = self._left[:, mine][:, last]
        without = gang.shape.fit((left - self._gives[:, mine]).min(axis=0))
        enough = slots.sum() - np.bincount(step, weights=fits[last] - without) >= gang.workers
        there = np.bincount(step) > 0
        return _Prefix(np.flatnonzero(enough[:before_last] & there[:before_last]), slots)


def _bounds(values: Ints) -> Ints:
    """Where each run of equal values begins, and where the last one ends."""
    changes = np.ones(len(values) + 1, dtype=np.bool_)
    np.not_equal(values[1:], values[:-1], out=changes[1:-1])
    return np.flatnonzero(changes) if len(values) else np.zeros(1, dtype=np.int64)


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

    def run(self, evictions: Evictions, spare: Ints) -> Found:
        """`spare`: the steps that are worth a try. Without the last there was not enough."""
        loans, step = len(evictions.lenders), self._step
        tried = np.isin(step, spare)
        entries = np.flatnonzero(tried & (step >= loans))[::-1]
        kept = [*np.unique(step[~tried]).tolist(), *self._thinned(entries)]
        # What a job has on loan goes if it stops.
        stopped = {evictions.stop(step).job.id for step in kept if step >= loans}
        go = np.array([worker.job.id in stopped for worker in evictions.lenders], dtype=np.bool_)
        lent = np.flatnonzero(tried & (step < loans))[::-1]
        stays = go[step[lent]]
        kept += [*step[lent[stays]].tolist(), *self._thinned(lent[~stays])]
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
