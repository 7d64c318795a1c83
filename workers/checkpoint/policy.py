"""Which checkpoints stay. Pure."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

Metrics = Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Best:
    """Of all evaluated checkpoints, those with the best values of one metric.

    Attributes:
        metric: as the recipe's `evaluate` names it.
        mode: which values are better.
        count: how many; at least 1.
    """

    metric: str
    mode: Literal["min", "max"]
    count: int = 1

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError("keep at least one of the best checkpoints")


@dataclass(frozen=True, kw_only=True)
class Retention:
    """Which checkpoints stay: those that any of these wants.

    Attributes:
        last: the newest so many; at least 1.
        every: those whose step is a multiple of it, for ever.
        best: the best by a metric.
    """

    last: int = 3
    every: int | None = None
    best: Best | None = None

    def __post_init__(self) -> None:
        if self.last < 1 or (self.every is not None and self.every < 1):
            raise ValueError("keep at least one checkpoint, and multiples of at least one step")


def staying(
    keep: Retention, steps: Iterable[int], sound: Collection[int], metrics: Mapping[int, Metrics]
) -> frozenset[int]:
    """The steps that stay.

    Only checkpoints that can be restored count, and only they stay for their number or their metric. Those
    that cannot stay as long as they are newer than the oldest of the newest that can: for people to look at,
    and for a job that makes their missing chunks anew.

    Args:
        keep: the policy.
        steps: of all checkpoints.
        sound: of those that can be restored.
        metrics: by step, as far as they are known. Without a finite value a step is no candidate for best.
    """
    newest = sorted(sound)[-keep.last :]
    oldest = newest[0] if len(newest) == keep.last else 0
    recent = {step for step in steps if step >= oldest}
    numbered = {step for step in sound if keep.every is not None and step % keep.every == 0}
    return frozenset(recent | numbered | _best(keep.best, sound, metrics))


def _best(best: Best | None, sound: Collection[int], metrics: Mapping[int, Metrics]) -> set[int]:
    if best is None:
        return set()
    sign = 1 if best.mode == "min" else -1
    values = {step: metrics.get(step, {}).get(best.metric, math.nan) for step in sound}
    finite = [(sign * value, -step) for step, value in values.items() if math.isfinite(value)]
    return {-negative for _, negative in sorted(finite)[: best.count]}  # of equal ones the newer
