"""Why there is no room, so that it holds for others as well: for whom it is too little, from when on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import inf, nextafter

import numpy as np

from orchestrator.scheduler.placement import most
from orchestrator.scheduler.room import SOON, Ints, Room, Shape
from orchestrator.scheduler.snapshot import Amounts, Within

#: GPUs, memory, CPUs: as places in amounts.
_SCARCEST_FIRST = (1, 2, 0)


@dataclass(frozen=True, slots=True)
class Lack:
    """There is no room for more workers than these that ask for as much of each kind, or more, and run until
    then or longer."""

    amounts: Amounts
    workers: int
    until: float = -inf

    def covers(self, shape: Shape, workers: int, until: float) -> bool:
        """Whether that is said of so many workers of a shape, too."""
        cpu, gpu, memory = self.amounts
        asked = shape.amounts
        return (
            workers > self.workers
            and until >= self.until
            and asked[1] >= gpu
            and asked[0] >= cpu
            and asked[2] >= memory
        )


def lack_at_once(free: Ints, shape: Shape, workers: int, within: Within, room: Room) -> Lack | None:
    """Why so many workers do not fit; None if they do. Of a single kind, if that alone is too little.

    Args:
        free: (nodes, kinds).
    """
    for kind in _SCARCEST_FIRST:
        amount = shape.amounts[kind]
        if amount > 0:
            slots = np.maximum(free[:, kind] // amount, 0) * shape.eligible
            if (fit := most(slots, within, room)) < workers:
                return Lack(shape.only(kind), fit)
    fit = most(shape.fit(free) * shape.eligible, within, room)
    return Lack(shape.amounts, fit) if fit < workers else None


def lacks_in_rows(
    free: Callable[[int], Ints], shape: Shape, workers: int, within: Within, room: Room, first: int
) -> tuple[Lack, ...]:
    """Why so many workers do not fit in rows all of which they need.

    Args:
        free: of a kind, (rows, nodes), from row `first` on, which is now or soon.
    """
    for kind in _SCARCEST_FIRST:
        amount = shape.amounts[kind]
        if amount > 0:
            slots = np.maximum(free(kind) // amount, 0) * shape.eligible
            if found := lacks_of_slots(slots, shape.only(kind), workers, within, room, first):
                return found
    slots = shape.fit(np.stack([free(kind) for kind in range(len(shape.amounts))], axis=-1)) * shape.eligible
    return lacks_of_slots(slots, shape.amounts, workers, within, room, first)


def lacks_of_slots(
    slots: Ints, amounts: Amounts, workers: int, within: Within, room: Room, first: int
) -> tuple[Lack, ...]:
    """Why so many workers do not fit that ask for these amounts: when it is too few, and how few in the end.

    Args:
        slots: (rows, nodes), how many fit, from row `first` on.
    """
    least = np.minimum.accumulate(slots, axis=0)
    in_the_end = most(least[-1], within, room)
    if in_the_end >= workers:
        return ()
    few, enough = len(least) - 1, -1  # the rows are known to be so up to and with these
    while few - enough > 1:
        middle = (few + enough) // 2
        if most(least[middle], within, room) < workers:
            few = middle
        else:
            enough = middle
    at_first = most(least[few], within, room)
    found = Lack(amounts, at_first, _beyond(room, first + few))
    if at_first == in_the_end:
        return (found,)
    return found, Lack(amounts, in_the_end, _beyond(room, first + len(least) - 1))


def _beyond(room: Room, row: int) -> float:
    """Who runs until then needs this row."""
    return -inf if row <= SOON else nextafter(room.times[row], inf)
