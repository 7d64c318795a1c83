"""The fewest of a sequence of evictions after which a gang has room.

Room is a sum over nodes, so the sequence is looked at in one go: for each entry, what fits on its node after
it. As soon as there is enough, the set is walked back, and whoever is not needed stays.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from orchestrator.scheduler.evictions import Evictions, rows_of
from orchestrator.scheduler.placement import most
from orchestrator.scheduler.room import SOON, Ints, Room, Shape
from orchestrator.scheduler.snapshot import Within

#: Entries that are looked at first, and how many times more if they do not do.
_FIRST, _MORE = 48, 6


@dataclass(frozen=True, slots=True)
class Gang:
    """Who looks for room: `slots`, (nodes,), is how many of its workers fit on each in rows "soon" to `end`."""

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
        return _Entries(self.step[:count], self.node[:count], self.amounts[:count], self.rows[:count])


def search(room: Room, gang: Gang, evictions: Evictions, useful: Ints) -> Found | int:
    """The steps that have to be taken, or how many workers fit if all are.

    Args:
        useful: (nodes,), whether more could fit there after all evictions than does now.
    """
    that_matter = np.flatnonzero(useful[evictions.node])
    rows = np.minimum(rows_of(evictions, room.times)[that_matter], gang.end - SOON)
    step, node = evictions.step[that_matter], evictions.node[that_matter]
    entries = _Entries(step, node, evictions.amounts[that_matter], rows)
    size = _FIRST
    while True:
        looked_at = entries.first(size)
        fits = _fits(room, gang, looked_at)
        reached = np.flatnonzero(_reach(room, gang, looked_at.node, fits) >= gang.workers)
        if len(reached):
            count = int(np.searchsorted(step, step[reached[0]], side="right"))
            return _WalkBack(room, gang, entries.first(count)).run(evictions)
        if size >= len(node):
            slots = gang.slots.copy()
            slots[looked_at.node] = fits  # the last entry of a node counts: so numpy assigns
            return most(slots, gang.within, room)
        size *= _MORE


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
    opens = np.flatnonzero(np.r_[True, places[1:] != places[:-1]]) if len(places) else places
    before = given[:, opens] - amounts[:, opens]
    given -= np.repeat(before, np.diff(np.r_[opens, len(places)]), axis=1)
    given += free[:, places]
    fits = np.empty_like(entries.node)
    fits[by_node] = gang.shape.fit(given.min(axis=0))
    return fits


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

    What fits on a node is the least of a few limits, each of a kind in a stretch of rows in which nobody's end
    lies. Most of them never bind, even if nobody leaves, and are left out.
    """

    def __init__(self, room: Room, gang: Gang, entries: _Entries) -> None:
        self._gang, self._room = gang, room
        self._step, self._node = entries.step.tolist(), entries.node.tolist()
        whole, kinds = gang.end - SOON, np.flatnonzero(gang.shape.vector)
        begins = np.unique(np.r_[0, entries.rows[entries.rows < whole]])
        places, whose = np.unique(entries.node, return_inverse=True)
        before = np.minimum.reduceat(room.free[SOON : gang.end][:, places][..., kinds], begins, axis=0)
        gives = entries.amounts[:, None, kinds] * (begins < entries.rows[:, None])[..., None]
        after = before.transpose(1, 0, 2).copy()  # (nodes, stretches, kinds), as all have gone
        np.add.at(after, whose, gives)
        wants = gang.shape.vector[kinds]
        fits = np.maximum((after // wants).min(axis=(1, 2)), 0)
        binding = (before // wants < fits[:, None]).any(axis=1)
        self._wants = np.broadcast_to(wants, binding.shape)[binding].tolist()
        self._gives = gives[:, binding].tolist()
        self._left = dict(zip(places.tolist(), after[:, binding].tolist(), strict=True))
        self._fits = dict(zip(places.tolist(), fits.tolist(), strict=True))
        self._slots = gang.slots.copy()
        self._slots[places] = fits
        #: Nodes among which there is enough → how many workers more than enough.
        self._spare = self._more_than_enough()

    def run(self, evictions: Evictions) -> Found:
        loans = len(evictions.lenders)
        begins = [n for n, step in enumerate(self._step) if not n or step != self._step[n - 1]]
        kept, stopped, end = list[int](), set[str](), len(self._step)
        for begin in reversed(begins):
            step = self._step[begin]
            # Without the last there was not enough, and what a job has on loan goes if it stops.
            needed = end == len(self._step) or (step < loans and evictions.lenders[step].job.id in stopped)
            if needed or not self._give_back(range(begin, end)):
                kept.append(step)
                if step >= loans:
                    stopped.add(evictions.stops[step - loans].job.id)
            end = begin
        for place, fits in self._fits.items():
            self._slots[place] = fits
        return Found(steps=kept[::-1], slots=self._slots)

    def _give_back(self, entries: range) -> bool:
        """Give these back, if there is enough without."""
        spare = self._spare.copy()
        changed: list[tuple[int, list[int], int]] = []
        for entry in entries:
            place = self._node[entry]
            left = [have - less for have, less in zip(self._left[place], self._gives[entry], strict=True)]
            limits = [have // want for have, want in zip(left, self._wants, strict=True)]
            fits = max(0, min(self._fits[place], *limits))
            group = self._group(place)
            if group in spare:
                spare[group] -= self._fits[place] - fits
                if spare[group] < 0:
                    del spare[group]
                    if not spare:
                        return False
            changed.append((place, left, fits))
        for place, left, fits in changed:
            self._left[place], self._fits[place] = left, fits
        self._spare = spare
        return True

    def _group(self, place: int) -> int:
        if self._gang.within is Within.ANYWHERE:
            return 0
        return place if self._gang.within is Within.NODE else int(self._room.zone[place])

    def _more_than_enough(self) -> dict[int, int]:
        slots, workers = self._slots, self._gang.workers
        if self._gang.within is Within.ANYWHERE:
            totals = slots.sum(keepdims=True)
        elif self._gang.within is Within.NODE:
            totals = slots
        else:
            totals = np.bincount(self._room.zone, weights=slots, minlength=self._room.zones).astype(np.int64)
        return {group: int(totals[group]) - workers for group in np.flatnonzero(totals >= workers).tolist()}
