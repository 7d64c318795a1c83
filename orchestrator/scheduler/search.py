"""The fewest of a sequence of evictions after which a gang has room.

Room is a sum over nodes, so the sequence is looked at in one go: for each entry, what fits on its node after
it. As soon as there is enough, the set is walked back, and whoever is not needed stays.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from orchestrator.scheduler.evictions import Evictions, rows_of
from orchestrator.scheduler.lacks import Lack, lacks_in_rows
from orchestrator.scheduler.room import SOON, Ints, Room
from orchestrator.scheduler.snapshot import Within
from orchestrator.scheduler.walk_back import Entries, Found, Gang, WalkBack, bounds_of

#: Entries that are looked at first, and how many times more if they do not do.
_FIRST, _MORE = 48, 6


def search(
    room: Room, gang: Gang, evictions: Evictions, useful: NDArray[np.bool_]
) -> Found | tuple[Lack, ...]:
    """The steps that have to be taken, or why not even all of them do.

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
            return WalkBack(room, gang, entries.first(count)).run(evictions, prefix.spare)
        if size >= len(that_matter):
            return trial.lacks(room, evictions)
        size *= _MORE


def _looked_at(room: Room, gang: Gang, evictions: Evictions, which: Ints) -> Entries:
    rows = np.minimum(rows_of(evictions.until[which], room.clock), gang.end - SOON)
    return Entries(evictions.step[which], evictions.node[which], evictions.amounts[which], rows)


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

    def __init__(self, room: Room, gang: Gang, entries: Entries) -> None:
        self._gang, self._step = gang, entries.step
        self._by_node = by_node = np.argsort(entries.node, kind="stable")
        self._places = places = entries.node[by_node]
        free = room.free[SOON : gang.end]
        amounts = entries.amounts[by_node][None]
        if len(free) > 1:
            amounts = amounts * (np.arange(len(free))[:, None] < entries.rows[by_node])[:, :, None]
        self._gives = amounts
        given = np.cumsum(amounts, axis=1)
        self._bounds = bounds_of(places)
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

    def lacks(self, room: Room, evictions: Evictions) -> tuple[Lack, ...]:
        """Why there is too little, if all have gone."""
        gang, ends = self._gang, self._bounds[1:] - 1

        def free(kind: int) -> Ints:
            rows: Ints = room.free[SOON : gang.end, :, kind] + evictions.total[:, kind]
            rows[:, self._places[ends]] = self._left[:, ends, kind]
            return rows

        return lacks_in_rows(free, gang.shape, gang.workers, gang.within, room, SOON)

    def prefix(self, count: int) -> _Prefix:
        """Of the first so many entries."""
        gang, mine = self._gang, self._by_node < count
        places, fits, step = self._places[mine], self._fits[mine], self._step[self._by_node[mine]]
        bounds = bounds_of(places)
        ends, slots = bounds[1:] - 1, gang.slots.copy()
        slots[places[ends]] = fits[ends]
        last_step = int(self._step[count - 1])
        if gang.within is not Within.ANYWHERE:
            return _Prefix(np.unique(step[step < last_step]), slots)
        last = np.repeat(ends, np.diff(bounds))  # of each entry's node
        left = self._left[:, mine][:, last]
        without = gang.shape.fit((left - self._gives[:, mine]).min(axis=0))
        enough = slots.sum() - np.bincount(step, weights=fits[last] - without) >= gang.workers
        there = np.bincount(step) > 0
        return _Prefix(np.flatnonzero(enough[:last_step] & there[:last_step]), slots)
