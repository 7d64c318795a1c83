"""Which source every sample of a mixture comes from: a pattern that repeats, with each share exact.

In every prefix of the stream the count of each source differs from its share by less than one sample. The
pattern is a schedule of unit jobs: draw j of a source with w of P samples must lie in the window
[floor(jP/w), ceil((j+1)P/w)). Such a schedule exists (Tijdeman, "The chairman assignment problem", 1980;
Baruah, Cohen, Plaxton and Varvel, "Proportionate progress", 1996), and earliest deadline first finds it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from heapq import heappop, heappush
from math import gcd, lcm

import numpy as np

from workers.data.permutation import Int64

#: Samples after which the pattern repeats, at most; finer weights are rounded.
PERIOD_MAX = 10_000


def whole_weights(weights: Sequence[float]) -> tuple[int, ...]:
    """Weights as the smallest whole numbers in the same proportions, as they are written in decimal.

    If these add up to more than `PERIOD_MAX`, they are rounded so that they add up to it: largest remainders
    go up, and no source gets less than one.

    Raises:
        ValueError: a weight is not above 0, or there are none, or more than `PERIOD_MAX`.
    """
    if not 0 < len(weights) <= PERIOD_MAX or not all(weight > 0 for weight in weights):
        raise ValueError(f"weights must be 1 to {PERIOD_MAX} numbers above 0")
    exact = [Fraction(repr(weight)) for weight in weights]
    scale = lcm(*(weight.denominator for weight in exact))
    whole = [int(weight * scale) for weight in exact]
    divisor = gcd(*whole)
    whole = [weight // divisor for weight in whole]
    return tuple(whole) if sum(whole) <= PERIOD_MAX else _rounded(whole)


def _rounded(whole: Sequence[int]) -> tuple[int, ...]:
    """Parts of `PERIOD_MAX`, at least one each; what that takes comes from the largest."""
    total = sum(whole)
    parts = [max(1, weight * PERIOD_MAX // total) for weight in whole]
    left = PERIOD_MAX - sum(parts)
    by_remainder = sorted(range(len(whole)), key=lambda k: (-(whole[k] * PERIOD_MAX % total), k))
    for source in by_remainder[: max(0, left)]:
        parts[source] += 1
    for _ in range(-left):
        parts[parts.index(max(parts))] -= 1
    divisor = gcd(*parts)
    return tuple(part // divisor for part in parts)


@dataclass(frozen=True)
class Pattern:
    """The sources of a stream's samples.

    Args:
        weights: samples of each source in a period, at least 1 each; see `whole_weights`.
    """

    weights: tuple[int, ...]

    def __post_init__(self) -> None:
        if not self.weights or min(self.weights) < 1:
            raise ValueError("weights must be at least 1")

    @cached_property
    def period(self) -> int:
        """Samples after which it repeats (P)."""
        return sum(self.weights)

    @cached_property
    def sources(self) -> Int64:
        """The source of each sample of a period; int64, `period` long."""
        draws = sorted(
            (draw * self.period // weight, -(-(draw + 1) * self.period // weight), source)
            for source, weight in enumerate(self.weights)
            for draw in range(weight)
        )
        waiting: list[tuple[int, int]] = []  # those whose window has begun: its end, the source
        sequence = np.empty(self.period, dtype=np.int64)
        begun = 0
        for place in range(self.period):
            while begun < len(draws) and draws[begun][0] <= place:
                heappush(waiting, draws[begun][1:])
                begun += 1
            sequence[place] = heappop(waiting)[1]
        return sequence

    def drawn(self, source: int, positions: Int64) -> Int64:
        """How many of the samples before each position of the stream come from a source."""
        periods, places = np.divmod(positions, self.period)
        return periods * self.weights[source] + np.searchsorted(self._places[source], places)

    def position(self, source: int, draw: int) -> int:
        """Where in the stream a source's draw number `draw` (from 0) lies."""
        periods, number = divmod(draw, self.weights[source])
        return periods * self.period + int(self._places[source][number])

    @cached_property
    def _places(self) -> list[Int64]:
        """Where each source's samples lie in a period, ascending."""
        return [np.flatnonzero(self.sources == source) for source in range(len(self.weights))]
