"""Of evictions after which a gang has room, those that are needed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from orchestrator.scheduler.evictions import Evictions
from orchestrator.scheduler.placement import enough
from orchestrator.scheduler.room import SOON, Ints, Room, Shape
from orchestrator.scheduler.snapshot import Within


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
class Entries:
    """Those of the evictions that matter; `rows`: how many, from "soon" on, each gives something in."""

    step: Ints
    node: Ints
    amounts: Ints
    rows: Ints

    def first(self, count: int) -> Entries:
        """So many of them."""
        return Entries(self.step[:count], self.node[:count], self.amounts[:count], self.rows[:count])


def bounds_of(values: Ints) -> Ints:
    """Where each run of equal values begins, and where the last one ends."""
    changes = np.ones(len(values) + 1, dtype=np.bool_)
    np.not_equal(values[1:], values[:-1], out=changes[1:-1])
    return np.flatnonzero(changes) if len(values) else np.zeros(1, dtype=np.int64)


class WalkBack:
    """Gives back whatever is not needed, beginning with what hurts most: the last.

    What fits on a node is the least of some limits, each of a kind in a stretch of rows in which nobody ends.
    Most of them never bind, even if nobody leaves, and are left out.
    """

    def __init__(self, room: Room, gang: Gang, entries: Entries) -> None:
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
        bounds = bounds_of(step)
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
