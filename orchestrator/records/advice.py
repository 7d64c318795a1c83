"""How often to save: the interval that loses least. Pure.

A save costs time, and so does what was done since the last one when everything is lost. Young (1974) found
the balance of the two, Daly (2006) what is left of it when failures come nearly as often as saves.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

DAY_SECONDS = 86400.0


@dataclass(frozen=True, kw_only=True)
class Advice:
    """What is measured, and what follows.

    Attributes:
        interval: seconds from one save to the next that lose least.
        between: seconds from one loss of all workers to the next that this supposes.
        seen: whether that is how often it happened; else nobody knows, and it is once a day.
    """

    interval: float
    between: float
    seen: bool


def best_interval(cost: float, between: float) -> float:
    """Seconds between saves that lose least.

    J. T. Daly, "A higher order estimate of the optimum checkpoint interval for restart dumps", Future
    Generation Computer Systems 22(3), 2006, equation 37.

    Args:
        cost: seconds that one save takes from training.
        between: mean seconds between two failures that lose everything since the last save.
    """
    if cost >= 2 * between:
        return between
    x = sqrt(cost / (2 * between))
    return sqrt(2 * cost * between) * (1 + x / 3 + x * x / 9) - cost


def advise(*, stalled: float, took: float, elapsed: float, losses: int) -> Advice:
    """What a job's own numbers say.

    Args:
        stalled: seconds for which a save kept training standing still.
        took: seconds until a save was durable; no interval is shorter.
        elapsed: seconds that the job ran.
        losses: how often it lost all of its workers.
    """
    between = elapsed / losses if losses else max(DAY_SECONDS, elapsed)
    return Advice(interval=max(took, best_interval(stalled, between)), between=between, seen=losses > 0)
