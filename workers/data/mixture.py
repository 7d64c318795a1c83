"""Where every sample of a mixture of data sets is stored: a pure function of (seed, virtual rank, index).

A mixture is an endless stream. `Pattern` says which source each of its samples comes from, `Lanes` which of
them each virtual rank takes. The draws of a source, numbered along the stream, make its passes: each N
consecutive ones hold every sample of a source of N once. Each pass has a line of its own, as an epoch of a
single data set has, cut into spans as long as what the virtual ranks draw in that pass; see
docs/design/0003-mixtures.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from itertools import pairwise

import numpy as np

from workers.data.lanes import Lanes
from workers.data.order import SampleOrder, edges
from workers.data.pattern import Pattern
from workers.data.permutation import Int64
from workers.data.runs import Runs
from workers.numerics.randomness import derive

#: Passes to remember: of large sources, one that ends and one that begins; of small ones, more of them.
_PASSES_MIN, _SAMPLES_KEPT = 2, 10_000


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """Samples of a stream, one element each; int64."""

    sources: Int64
    passes: Int64  # of the sample's source, counted from 0
    runs: Runs  # where they are stored; blocks are counted within the source


@dataclass(frozen=True, kw_only=True, eq=False)
class _Pass:
    """One pass over a source.

    Args:
        taken: how many of the source's samples each virtual rank took before this pass.
    """

    order: SampleOrder
    taken: Int64


class Mixture:
    """The order of a stream that is drawn from several data sets.

    Args:
        weights: whole numbers, one a source.
        block_rows: rows in each block of each source, in its manifest's order; at least one sample each.
        window_blocks: for each source, None to shuffle globally, else blocks in a window.
        vranks: how many virtual ranks share the stream (V).
        seed: the job's.
        sample_rows: rows that make a sample, in each source; see `workers.data.order.SampleOrder`.

    Raises:
        ValueError: the sizes do not fit, or a source is empty.
    """

    def __init__(
        self,
        *,
        weights: Sequence[int],
        block_rows: Sequence[Int64],
        window_blocks: Sequence[int | None],
        vranks: int,
        seed: int,
        sample_rows: int = 1,
    ) -> None:
        if not len(weights) == len(block_rows) == len(window_blocks):
            raise ValueError("every source needs a weight, a table of blocks and a shuffle")
        self.pattern = Pattern(tuple(weights))
        self.rows = tuple(int(rows.sum()) // sample_rows for rows in block_rows)
        if min(self.rows) < 1:
            raise ValueError("every source needs a sample")
        self.vranks = vranks
        self.block_rows, self.sample_rows = block_rows, sample_rows
        self._window_blocks, self._seed = window_blocks, seed
        self._lanes = Lanes(pattern=self.pattern, vranks=vranks, seed=seed)
        kept = [max(_PASSES_MIN, _SAMPLES_KEPT // rows) for rows in self.rows]
        self._passes = [lru_cache(n)(partial(self._pass, source)) for source, n in enumerate(kept)]
        self._begins = [lru_cache(n)(partial(self._taken_before, source)) for source, n in enumerate(kept)]

    def addresses(self, vrank: int, start: int, stop: int) -> Drawn:
        """Where samples `start..stop-1` of a virtual rank, counted from the stream's beginning, are stored.

        Raises:
            IndexError: there is no such virtual rank, or no such samples.
        """
        if not 0 <= start <= stop:
            raise IndexError(f"samples {start}..{stop} of an endless stream")
        positions = self._lanes.positions(vrank, np.arange(start, stop, dtype=np.int64))
        sources = self.pattern.sources[positions % self.pattern.period]
        passes = np.empty_like(positions)
        found, places = [Runs(blocks=positions[:0], rows=positions[:0])], [positions[:0]]
        for source in np.unique(sources).tolist():
            mine = np.flatnonzero(sources == source)
            passes[mine] = self.pattern.drawn(source, positions[mine]) // self.rows[source]
            before = int(self._lanes.taken(source, start * self.vranks, np.array([vrank]))[0])
            for begin, end in _stretches(passes[mine]):
                part = mine[begin:end]
                one = self._passes[source](int(passes[part[0]]))
                first = before + begin - int(one.taken[vrank])
                found.append(one.order.addresses(vrank, first, first + end - begin))
                places.append(part)
        back = np.argsort(np.concatenate(places))
        return Drawn(sources=sources, passes=passes, runs=Runs.joined(found).select(back))

    def _pass(self, source: int, number: int) -> _Pass:
        begin, end = self._begins[source](number), self._begins[source](number + 1)
        order = SampleOrder(
            block_rows=self.block_rows[source],
            seed=derive("source", self._seed, source),
            epoch=number,
            vranks=self.vranks,
            window_blocks=self._window_blocks[source],
            cuts=edges(end - begin),
            sample_rows=self.sample_rows,
        )
        return _Pass(order=order, taken=begin)

    def _taken_before(self, source: int, number: int) -> Int64:
        """Samples of a source that each virtual rank takes before its pass `number` begins."""
        position = self.pattern.position(source, number * self.rows[source])
        return self._lanes.taken(source, position, self._vranks)

    @cached_property
    def _vranks(self) -> Int64:
        return np.arange(self.vranks, dtype=np.int64)


def _stretches(values: Int64) -> Iterator[tuple[int, int]]:
    """The stretches of equal values, which ascend."""
    bounds = [0, *(np.flatnonzero(np.diff(values)) + 1).tolist(), len(values)]
    yield from pairwise(bounds)
