"""Which sample of a mixture's stream each virtual rank takes, and how many of each source that have been.

Row i of the stream is its samples [iV, (i+1)V): one for each virtual rank. After R rows, a *round*, the
pattern of sources begins a row again. In round q, virtual rank v sits on seat (v + q) mod V, and a row's
seats are its samples rotated by a random number that belongs to the row's place in the round. So virtual
ranks take turns at everything: in V rounds each has sat on every seat of every row.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import gcd

import numpy as np

from workers.data.pattern import Pattern
from workers.data.permutation import Int64
from workers.numerics.randomness import derive


@dataclass(frozen=True, kw_only=True, eq=False)
class Lanes:
    """How a stream is dealt to virtual ranks.

    Args:
        pattern: the sources of its samples.
        vranks: how many virtual ranks there are (V).
        seed: of the rotations.
    """

    pattern: Pattern
    vranks: int
    seed: int

    def positions(self, vrank: int, rows: Int64) -> Int64:
        """The samples of the stream that a virtual rank takes in these rows."""
        if not 0 <= vrank < self.vranks:
            raise IndexError(f"virtual rank {vrank} is not in 0..{self.vranks - 1}")
        rounds, places = np.divmod(rows, self.round_rows)
        return rows * self.vranks + (vrank + rounds + self._turns[places]) % self.vranks

    def taken(self, source: int, position: int, vranks: Int64) -> Int64:
        """How many samples of a source each of these virtual ranks takes before a position of the stream."""
        row, lane = divmod(position, self.vranks)
        rounds, place = divmod(row, self.round_rows)
        turns, rounds = divmod(rounds, self.vranks)
        each = self._round(source)
        seats = (vranks + rounds) % self.vranks
        whole = turns * each[self.vranks] + each[vranks + rounds] - each[vranks]
        of_round = np.count_nonzero(self._seats[:place, seats] == source, axis=0)
        in_row = (seats + self._turns[place]) % self.vranks < lane
        of_row = in_row & (self._seats[place, seats] == source)
        return np.asarray(whole + of_round + of_row, dtype=np.int64)

    @cached_property
    def round_rows(self) -> int:
        """Rows after which the pattern begins a row again (R)."""
        return self.pattern.period // gcd(self.pattern.period, self.vranks)

    @cached_property
    def _turns(self) -> Int64:
        """By how much each row of a round is rotated."""
        turns = [derive("lanes", self.seed, row) % self.vranks for row in range(self.round_rows)]
        return np.array(turns, dtype=np.int64)

    @cached_property
    def _seats(self) -> np.ndarray[tuple[int, int], np.dtype[np.int16]]:
        """The source of each seat (second index) of each row of a round."""
        samples = np.arange(self.vranks, dtype=np.int32) + self._turns.astype(np.int32)[:, None]
        samples %= self.vranks
        samples += np.arange(0, self.round_rows * self.vranks, self.vranks, dtype=np.int32)[:, None]
        samples %= self.pattern.period
        return np.asarray(self.pattern.sources.astype(np.int16)[samples], dtype=np.int16)

    @cached_property
    def _rounds(self) -> dict[int, Int64]:
        return {}

    def _round(self, source: int) -> Int64:
        """Samples of a source that a whole round gives to the seats before each, over the seats twice."""
        if source not in self._rounds:
            of_seats = np.count_nonzero(self._seats == source, axis=0)
            self._rounds[source] = np.concatenate([[0], np.cumsum(np.tile(of_seats, 2))])
        return self._rounds[source]
