"""How many virtual ranks each worker gets: equal loads, or fewer for those that need longer for each."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from workers.numerics.tree import equal_loads

#: Workers whose speeds differ by less than this factor count as equally fast: the rest is noise.
_ALIKE = 1.3


def loads_for(costs: Sequence[float | None], virtual_ranks: int) -> tuple[int, ...]:
    """Loads that make the slowest worker's step as short as can be.

    Args:
        costs: seconds of work for one virtual rank, by worker; None where that is not known: such a worker
            counts as an average one.
        virtual_ranks: V, at least as many as there are workers.

    Returns:
        virtual ranks by worker, at least 1 each.
    """
    known = [cost for cost in costs if cost]
    if not known or max(known) < _ALIKE * min(known):
        return equal_loads(virtual_ranks, len(costs))
    middle = median(known)
    speeds = [cost or middle for cost in costs]
    loads = [1] * len(costs)
    for _ in range(virtual_ranks - len(costs)):
        fastest = min(range(len(costs)), key=lambda worker: ((loads[worker] + 1) * speeds[worker], worker))
        loads[fastest] += 1
    return tuple(loads)


def gain(loads: Sequence[int], costs: Sequence[float], virtual_ranks: int) -> float:
    """The part of a step's work that `loads_for` would save, compared with these loads; 0..1."""
    now = max(load * cost for load, cost in zip(loads, costs, strict=True))
    better = max(load * cost for load, cost in zip(loads_for(costs, virtual_ranks), costs, strict=True))
    return 1 - better / now if now else 0.0
