"""Where every sample of an epoch goes: a pure function of (seed, epoch, virtual rank, index).

All samples lie on a line that is cut into V spans whose lengths differ by at most one. *Globally* shuffled,
a position of the line is a sample's number, permuted. *Windowed*, the line is the permuted blocks laid end
to end, and a span is shuffled within windows of a few consecutive blocks: each block is then needed by one
virtual rank (by two where a span begins inside it), and only for a short while.

Where samples are packed, each is a run of as many rows of the line. So a run that goes on in another block
does so in the one that lies next to it on the line, which is read at the same time. What is left at the end
of the line is less than a sample, and belongs to none in this epoch.

Nothing here depends on how many workers there are, and index i is found without the indices before it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np

from workers.data.permutation import Int64, Permutation
from workers.data.runs import Runs, cut
from workers.numerics.randomness import derive

Shuffle = Literal["auto", "global", "windowed"]

GLOBAL_BELOW_BYTES = 8 * 10**9
WINDOW_BLOCKS = 32  # of 1-8 MB each: a virtual rank's window fits in memory and mixes thousands of samples


def resolve_shuffle(
    size_bytes: int,
    choice: Shuffle = "auto",
    window_blocks: int = WINDOW_BLOCKS,
    *,
    single_rows: bool = False,
) -> int | None:
    """How a data set is shuffled, decided once from the data alone.

    Args:
        size_bytes: of the whole data set.
        choice: what the job says; "auto" is global below 8 GB.
        window_blocks: the window's size if it is windowed, at least 1.
        single_rows: every block holds one sample (a prefix of raw objects). A window saves no reads then,
            so "auto" is global at any size.

    Returns:
        Blocks in a window; None for a global shuffle.
    """
    if window_blocks < 1:
        raise ValueError("a window holds at least one block")
    if choice == "auto":
        choice = "global" if single_rows or size_bytes < GLOBAL_BELOW_BYTES else "windowed"
    return window_blocks if choice == "windowed" else None


def span(rows: int, vranks: int, vrank: int) -> tuple[int, int]:
    """The stretch `[start, stop)` of the line that a virtual rank owns."""
    if not 0 <= vrank < vranks:
        raise IndexError(f"virtual rank {vrank} is not in 0..{vranks - 1}")
    return vrank * rows // vranks, (vrank + 1) * rows // vranks


def edges(block_rows: Int64, order: Int64 | None = None) -> Int64:
    """Where blocks of these lengths begin when they are laid end to end, and where the last one ends.

    Args:
        order: which block comes where; as they are numbered if not given.
    """
    line = np.zeros(len(block_rows) + 1, dtype=np.int64)
    if order is None:
        line[1:] = block_rows
    else:  # straight to where it is wanted: fresh memory costs more than this
        np.take(np.asarray(block_rows, dtype=np.int64), order, out=line[1:], mode="clip")
    np.cumsum(line, out=line)
    return line


def locate(line: Int64, positions: Int64) -> tuple[Int64, Int64]:
    """The block of each position of a line, and the row in that block. `line` is what `edges` gives."""
    blocks = np.searchsorted(line, positions, side="right") - 1
    return blocks, positions - line[blocks]


def stored_at(line: Int64, samples: Int64, sample_rows: int) -> Runs:
    """The rows of samples, which are numbered along a line of blocks. `line` is what `edges` gives."""
    if sample_rows > 1:
        return cut(line, samples * sample_rows, sample_rows)
    blocks, rows = locate(line, samples)
    return Runs(blocks=blocks, rows=rows)


@dataclass(frozen=True, kw_only=True)
class OrderSettings:
    """What a job pins of the order, for all of its epochs.

    Args:
        seed: the job's.
        window_blocks: None to shuffle globally, else blocks in a window.
        sample_rows: see `SampleOrder`.
    """

    seed: int
    window_blocks: int | None = None
    sample_rows: int = 1

    def epoch(self, epoch: int, block_rows: Int64, vranks: int) -> SampleOrder:
        """The order of one epoch of a data set."""
        return SampleOrder(
            block_rows=block_rows,
            seed=self.seed,
            epoch=epoch,
            vranks=vranks,
            window_blocks=self.window_blocks,
            sample_rows=self.sample_rows,
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class SampleOrder:
    """The order of one epoch.

    Args:
        block_rows: rows in each block, int64, in the manifest's order.
        seed: the job's.
        epoch: counted from 0.
        vranks: how many virtual ranks share the epoch (V).
        window_blocks: None to shuffle globally, else blocks in a window.
        cuts: where the virtual ranks' spans begin, and where the last one ends, if they are not all as long.
        sample_rows: rows that make a sample, at least 1; more than 1 where samples are packed.
    """

    block_rows: Int64
    seed: int
    epoch: int
    vranks: int
    window_blocks: int | None = None
    cuts: Int64 | None = None
    sample_rows: int = 1

    def span(self, vrank: int) -> tuple[int, int]:
        """The stretch `[start, stop)` of the epoch's line that a virtual rank owns."""
        first, last = span(self.rows, self.vranks, vrank)
        return (first, last) if self.cuts is None else (int(self.cuts[vrank]), int(self.cuts[vrank + 1]))

    def addresses(self, vrank: int, start: int, stop: int) -> Runs:
        """Where samples `start..stop-1` of a virtual rank's epoch are stored.

        Raises:
            IndexError: the virtual rank has no such samples.
        """
        first, last = self.span(vrank)
        if not 0 <= start <= stop <= last - first:
            raise IndexError(f"samples {start}..{stop} of {last - first} of virtual rank {vrank}")
        positions = np.arange(first + start, first + stop, dtype=np.int64)
        if self.window_blocks is None:
            return stored_at(self._stored, self._samples(positions), self.sample_rows)
        for window in self._windows(vrank, first + start, first + stop):
            inside = slice(max(window.start, first + start) - first - start, window.stop - first - start)
            positions[inside] = window.start + window.permutation(positions[inside] - window.start)
        found = stored_at(self._line, positions, self.sample_rows)
        return replace(found, blocks=self._line_blocks[found.blocks])

    @cached_property
    def rows(self) -> int:
        """Samples in the epoch."""
        return int(self.block_rows.sum()) // self.sample_rows

    @cached_property
    def _stored(self) -> Int64:
        return edges(self.block_rows)

    @cached_property
    def _samples(self) -> Permutation:
        return Permutation(self.rows, derive("samples", self.seed, self.epoch))

    @cached_property
    def _line_blocks(self) -> Int64:
        """The blocks in the order in which they lie on the line."""
        return Permutation(len(self.block_rows), derive("blocks", self.seed, self.epoch)).everything()

    @cached_property
    def _line(self) -> Int64:
        return edges(self.block_rows, self._line_blocks)

    @cached_property
    def _begins(self) -> Int64:
        """How many samples begin before each block of the line, and in all: a sample is where it begins."""
        if self.sample_rows == 1:
            return self._line
        return np.minimum(-(-self._line // self.sample_rows), self.rows)

    def _windows(self, vrank: int, start: int, stop: int) -> Iterator[_Window]:
        """The windows of a virtual rank's span that touch positions `[start, stop)` of the line.

        They are counted from the block that the span begins in, and clipped to the span.
        """
        if self.window_blocks is None or start == stop:
            return
        width = self.window_blocks
        first, last = self.span(vrank)
        origin, begin, end = locate(self._begins, np.array([first, start, stop - 1]))[0].tolist()
        for number in range((begin - origin) // width, (end - origin) // width + 1):
            block = origin + number * width
            window_start = max(first, int(self._begins[block]))
            window_stop = min(last, int(self._begins[min(block + width, len(self.block_rows))]))
            key = derive("window", self.seed, self.epoch, vrank, number)
            permutation = Permutation(window_stop - window_start, key)
            yield _Window(start=window_start, stop=window_stop, permutation=permutation)


@dataclass(frozen=True, kw_only=True)
class _Window:
    """Positions `[start, stop)` of the line, shuffled among themselves."""

    start: int
    stop: int
    permutation: Permutation
