"""Where a gang goes: on one node if it can, in one zone if it can, and where it fits most tightly."""

from __future__ import annotations

import numpy as np

from orchestrator.scheduler.room import Ints, Room, Shape, Spots
from orchestrator.scheduler.snapshot import Within

_FAR = 1 << 40


def most(slots: Ints, within: Within, room: Room) -> int:
    """How many workers of one gang find room: `slots` is how many fit on each node."""
    if len(slots) == 0:
        return 0
    if within is Within.ANYWHERE:
        return int(slots.sum())
    return int((slots if within is Within.NODE else _by_zone(slots, room)).max())


def enough(slots: Ints, workers: int, within: Within, room: Room) -> bool:
    """Whether so many do."""
    return most(slots, within, room) >= workers


def choose(slots: Ints, workers: int, within: Within, room: Room, shape: Shape) -> Spots | None:
    """Nodes for a gang, or None if there is no room for all of it.

    Args:
        slots: (nodes,), how many workers fit on each.
        within: what they have to share; near is better in any case.
    """
    if not enough(slots, workers, within, room):
        return None
    if (node := _tightest(slots, workers, room, shape)) is not None:
        return {node: workers}
    zone = _best_zone(slots, workers, room)
    if zone is not None:
        return _fill(np.where(room.zone == zone, slots, 0), workers, room, shape)
    # Zones with most room first, so that few are needed.
    totals = _by_zone(slots, room)
    left, spots = workers, Spots()
    for zone in np.argsort(-totals, kind="stable").tolist():
        here = min(left, int(totals[zone]))
        if here:
            spots |= _fill(np.where(room.zone == zone, slots, 0), here, room, shape)
        left -= here
    return spots


def extend(slots: Ints, spots: Spots, workers: int, within: Within, room: Room, shape: Shape) -> Spots:
    """Nodes for up to so many more workers of a job that has `spots`: near those first."""
    more = Spots()
    allowed = slots.copy()
    zones = {int(room.zone[node]) for node in spots}
    if within is Within.NODE:
        allowed[[node not in spots for node in range(len(allowed))]] = 0
    elif within is Within.ZONE:
        allowed[~np.isin(room.zone, list(zones))] = 0
    for node in spots:
        here = min(workers - sum(more.values()), int(allowed[node]))
        if here > 0:
            more[node] = here
        allowed[node] = 0
    near = np.where(np.isin(room.zone, list(zones)), allowed, 0)
    for group in (near, allowed - near):
        here = min(workers - sum(more.values()), int(group.sum()))
        if here > 0:
            single = _tightest(group, here, room, shape)
            more |= {single: here} if single is not None else _fill(group, here, room, shape)
    return more


def _by_zone(slots: Ints, room: Room) -> Ints:
    return np.bincount(room.zone, weights=slots, minlength=room.zones).astype(np.int64)


def _tightest(slots: Ints, workers: int, room: Room, shape: Shape) -> int | None:
    """The node with the least room in which so many fit; without GPUs, if it needs none."""
    if len(slots) == 0:
        return None
    badness = slots + room.has_gpus * (_FAR >> 10) if shape.prefers_plain else slots
    badness = np.where(slots >= workers, badness, _FAR)
    node = int(badness.argmin())
    return node if badness[node] < _FAR else None


def _best_zone(slots: Ints, workers: int, room: Room) -> int | None:
    """The zone in which the gang needs the fewest nodes; of those, the one with least room."""
    totals = _by_zone(slots, room)
    best: tuple[int, int, int] | None = None
    for zone in np.flatnonzero(totals >= workers).tolist():
        largest = -np.sort(-slots[room.zone == zone])
        nodes = int(np.searchsorted(np.cumsum(largest), workers)) + 1
        candidate = (nodes, int(totals[zone]), zone)
        best = candidate if best is None else min(best, candidate)
    return best[2] if best is not None else None


def _fill(slots: Ints, workers: int, room: Room, shape: Shape) -> Spots:
    """The fewest nodes: largest first, and for the rest the tightest. There must be room for all."""
    badness = -slots + room.has_gpus * (_FAR >> 10) if shape.prefers_plain else -slots
    left, spots = workers, Spots()
    slots = slots.copy()
    for node in np.argsort(badness, kind="stable").tolist():
        if slots[node] == 0:
            continue
        if left <= slots[node]:
            last = _tightest(slots, left, room, shape)
            spots[node if last is None else last] = left
            return spots
        spots[node] = int(slots[node])
        left -= spots[node]
        slots[node] = 0
    return spots
