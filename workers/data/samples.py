"""What a feed asks for addresses: one data set, epoch after epoch, or a mixture of several."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from workers.data.mixture import Mixture
from workers.data.order import OrderSettings, SampleOrder, edges, stored_at
from workers.data.permutation import Int64
from workers.data.runs import Runs


@dataclass(frozen=True, kw_only=True)
class Addresses:
    """Samples, and where they are stored.

    Attributes:
        runs: their places. Blocks of several data sets are counted through them all.
        draws: one a sample: with the epoch, what the random stream of its decoding belongs to; int64.
    """

    runs: Runs
    draws: Int64

    def __len__(self) -> int:
        """Samples."""
        return len(self.draws)

    def part(self, start: int, count: int) -> Addresses:
        """`count` of them, from number `start` on."""
        stop = start + count
        return Addresses(runs=self.runs.part(start, stop), draws=self.draws[start:stop])

    def without(self, left_out: Int64) -> Addresses:
        """Those that have nothing in any of these blocks."""
        if not len(left_out):
            return self
        kept = np.flatnonzero(~self.runs.touch(left_out))
        return Addresses(runs=self.runs.select(kept), draws=self.draws[kept])


def joined(parts: Sequence[Addresses]) -> Addresses:
    """Addresses laid end to end; at least one part."""
    return Addresses(
        runs=Runs.joined([part.runs for part in parts]), draws=np.concatenate([part.draws for part in parts])
    )


class Samples(Protocol):
    """Where the samples of a training set are stored, in the order in which virtual ranks take them."""

    def find(self, epoch: int, vrank: int, start: int, stop: int) -> Addresses:
        """Samples `start..stop-1` of a virtual rank in an epoch, or as many of them as it has."""

    def first(self, count: int, block: int = 0) -> Addresses:
        """So many samples in stored order from the beginning of a block on, or as many as there are."""


class StoredSamples:
    """The samples of one data set in stored order.

    Args:
        block_rows: rows in each block.
        sample_rows: rows that make a sample, at least 1; see `workers.data.order.SampleOrder`.
        first_block: what its first block is called, and
        first_row: its first row.
    """

    def __init__(
        self, block_rows: Int64, sample_rows: int = 1, *, first_block: int = 0, first_row: int = 0
    ) -> None:
        self._line, self._sample_rows = edges(block_rows), sample_rows
        self._first_block, self._first_row = first_block, first_row
        self.count = int(self._line[-1]) // sample_rows

    def find(self, start: int, stop: int) -> Addresses:
        """Samples `start..stop-1`, or as many of them as there are."""
        samples = np.arange(start, min(stop, self.count), dtype=np.int64)
        runs = stored_at(self._line, samples, self._sample_rows)
        if self._first_block:
            runs = replace(runs, blocks=runs.blocks + self._first_block)
        return Addresses(runs=runs, draws=self._first_row + samples * self._sample_rows)

    def first(self, count: int, block: int) -> Addresses:
        """So many samples that begin in a block or after it, or as many as there are."""
        begin = -(-int(self._line[min(block, len(self._line) - 1)]) // self._sample_rows)
        return self.find(begin, begin + count)


class EpochSamples:
    """One data set, which every epoch reads once.

    Args:
        block_rows: rows in each of its blocks.
        order: seed, kind of shuffle, and rows that make a sample.
        vranks: virtual ranks that share an epoch (V).
    """

    def __init__(self, block_rows: Int64, order: OrderSettings, vranks: int) -> None:
        self._block_rows, self._settings, self._vranks = block_rows, order, vranks
        self._first_row = edges(block_rows)
        self._order: SampleOrder | None = None

    def find(self, epoch: int, vrank: int, start: int, stop: int) -> Addresses:
        """See `Samples.find`."""
        order = self._order
        if order is None or order.epoch != epoch:
            order = self._order = self._settings.epoch(epoch, self._block_rows, self._vranks)
        first, last = order.span(vrank)
        runs = order.addresses(vrank, min(start, last - first), min(stop, last - first))
        blocks, rows = runs.starts
        return Addresses(runs=runs, draws=self._first_row[blocks] + rows)

    def first(self, count: int, block: int = 0) -> Addresses:
        """See `Samples.first`."""
        return StoredSamples(self._block_rows, self._settings.sample_rows).first(count, block)


class MixedSamples:
    """A mixture of data sets. It is one endless epoch.

    Args:
        mixture: their order. Blocks are counted through all of its sources.
    """

    def __init__(self, mixture: Mixture) -> None:
        self._mixture = mixture
        self._first_block = edges(np.array([len(rows) for rows in mixture.block_rows]))
        self._first_row = edges(np.concatenate(mixture.block_rows))

    def find(self, epoch: int, vrank: int, start: int, stop: int) -> Addresses:
        """See `Samples.find`."""
        drawn = self._mixture.addresses(vrank, start, stop)
        runs = drawn.runs
        sources = drawn.sources if runs.bounds is None else np.repeat(drawn.sources, np.diff(runs.bounds))
        runs = replace(runs, blocks=self._first_block[sources] + runs.blocks)
        blocks, rows = runs.starts
        return Addresses(runs=runs, draws=drawn.passes * self._first_row[-1] + self._first_row[blocks] + rows)

    def first(self, count: int, block: int = 0) -> Addresses:
        """See `Samples.first`. Source after source; no sample is of two."""
        parts = []
        for source, first_block in enumerate(self._first_block[:-1].tolist()):
            parts.append(self._stored(source).first(count, max(0, block - first_block)))
            count -= len(parts[-1])
        return joined(parts)

    def _stored(self, source: int) -> StoredSamples:
        first_block = int(self._first_block[source])
        return StoredSamples(
            self._mixture.block_rows[source],
            self._mixture.sample_rows,
            first_block=first_block,
            first_row=int(self._first_row[first_block]),
        )
