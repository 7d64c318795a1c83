"""What a feed asks for addresses: one data set, epoch after epoch, or a mixture of several."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from workers.data.manifest import Manifest
from workers.data.mixture import Mixture
from workers.data.order import OrderSettings, SampleOrder, edges, locate
from workers.data.permutation import Int64


@dataclass(frozen=True, kw_only=True)
class Addresses:
    """Where samples are stored, one element each; int64."""

    blocks: Int64  # of several data sets: counted through them all
    rows: Int64  # within the block
    draws: Int64  # with the epoch, what the random stream of a sample's decoding belongs to

    def part(self, start: int, count: int) -> Addresses:
        """`count` of them, from number `start` on."""
        inside = slice(start, start + count)
        return Addresses(blocks=self.blocks[inside], rows=self.rows[inside], draws=self.draws[inside])

    def without(self, left_out: Int64) -> Addresses:
        """Those that are in none of these blocks."""
        if not len(left_out):
            return self
        kept = ~np.isin(self.blocks, left_out)
        return Addresses(blocks=self.blocks[kept], rows=self.rows[kept], draws=self.draws[kept])


def joined(parts: Sequence[Addresses]) -> Addresses:
    """Addresses laid end to end; at least one part."""
    return Addresses(
        blocks=np.concatenate([part.blocks for part in parts]),
        rows=np.concatenate([part.rows for part in parts]),
        draws=np.concatenate([part.draws for part in parts]),
    )


class Samples(Protocol):
    """Where the samples of a training set are stored, in the order in which virtual ranks take them."""

    def find(self, epoch: int, vrank: int, start: int, stop: int) -> Addresses:
        """Samples `start..stop-1` of a virtual rank in an epoch, or as many of them as it has."""

    def first(self, count: int, block: int = 0) -> Addresses:
        """So many samples in stored order from the beginning of a block on, or as many as there are."""


class EpochSamples:
    """One data set, which every epoch reads once.

    Args:
        manifest: of the data set.
        order: seed and kind of shuffle.
        vranks: virtual ranks that share an epoch (V).
    """

    def __init__(self, manifest: Manifest, order: OrderSettings, vranks: int) -> None:
        self._manifest, self._settings, self._vranks = manifest, order, vranks
        self._order: SampleOrder | None = None

    def find(self, epoch: int, vrank: int, start: int, stop: int) -> Addresses:
        """See `Samples.find`."""
        order = self._order
        if order is None or order.epoch != epoch:
            order = self._order = self._settings.epoch(epoch, self._manifest.block_rows, self._vranks)
        first, last = order.span(vrank)
        blocks, rows = order.addresses(vrank, min(start, last - first), min(stop, last - first))
        return Addresses(blocks=blocks, rows=rows, draws=self._manifest.first_row[blocks] + rows)

    def first(self, count: int, block: int = 0) -> Addresses:
        """See `Samples.first`."""
        return _stored(self._manifest.edges, count, block)


class MixedSamples:
    """A mixture of data sets. It is one endless epoch.

    Args:
        manifests: of its sources. Blocks are counted through all of them.
        mixture: their order.
    """

    def __init__(self, manifests: Sequence[Manifest], mixture: Mixture) -> None:
        self._mixture = mixture
        self._first_block = edges(np.array([len(manifest) for manifest in manifests]))[:-1]
        self._first_row = edges(np.concatenate([manifest.block_rows for manifest in manifests]))

    def find(self, epoch: int, vrank: int, start: int, stop: int) -> Addresses:
        """See `Samples.find`."""
        drawn = self._mixture.addresses(vrank, start, stop)
        blocks = self._first_block[drawn.sources] + drawn.blocks
        draws = drawn.passes * self._first_row[-1] + self._first_row[blocks] + drawn.rows
        return Addresses(blocks=blocks, rows=drawn.rows, draws=draws)

    def first(self, count: int, block: int = 0) -> Addresses:
        """See `Samples.first`."""
        return _stored(self._first_row, count, block)


def _stored(line: Int64, count: int, block: int) -> Addresses:
    begin = int(line[min(block, len(line) - 1)])
    draws = np.arange(begin, min(begin + count, int(line[-1])), dtype=np.int64)
    blocks, rows = locate(line, draws)
    return Addresses(blocks=blocks, rows=rows, draws=draws)
