"""Where samples are stored: each is one row of a block, or a run of rows that may go on in other blocks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from workers.data.permutation import Int64


@dataclass(frozen=True, kw_only=True, eq=False)
class Runs:
    """Samples by address, in pieces: a piece is what one block holds of a sample. int64.

    Attributes:
        blocks: each piece's block.
        rows: its first row in that block.
        lengths: how many rows it has. None: every sample is one row, and one piece.
        bounds: the number of each sample's first piece, then that of all pieces. None likewise.
    """

    blocks: Int64
    rows: Int64
    lengths: Int64 | None = None
    bounds: Int64 | None = None

    def __len__(self) -> int:
        """Samples."""
        return len(self.blocks) if self.bounds is None else len(self.bounds) - 1

    @property
    def starts(self) -> tuple[Int64, Int64]:
        """Block and row in it where each sample begins."""
        if self.bounds is None:
            return self.blocks, self.rows
        first = self.bounds[:-1]
        return self.blocks[first], self.rows[first]

    @property
    def ends(self) -> Int64:
        """The number of the piece after each sample's last one."""
        return np.arange(1, len(self) + 1, dtype=np.int64) if self.bounds is None else self.bounds[1:]

    def part(self, start: int, stop: int) -> Runs:
        """Samples `start..stop-1`, or as many of them as there are."""
        if self.bounds is None or self.lengths is None:
            return Runs(blocks=self.blocks[start:stop], rows=self.rows[start:stop])
        start = min(start, len(self))
        bounds = self.bounds[start : stop + 1]
        pieces = slice(int(bounds[0]), int(bounds[-1]))
        return Runs(
            blocks=self.blocks[pieces],
            rows=self.rows[pieces],
            lengths=self.lengths[pieces],
            bounds=bounds - bounds[0],
        )

    def select(self, samples: Int64) -> Runs:
        """These samples, by number, in this order."""
        if self.bounds is None or self.lengths is None:
            return Runs(blocks=self.blocks[samples], rows=self.rows[samples])
        pieces, bounds = ranges(self.bounds[samples], self.bounds[samples + 1])
        return Runs(
            blocks=self.blocks[pieces],
            rows=self.rows[pieces],
            lengths=self.lengths[pieces],
            bounds=bounds,
        )

    def touch(self, blocks: Int64) -> npt.NDArray[np.bool_]:
        """Whether each sample has a piece in any of these blocks."""
        pieces = np.isin(self.blocks, blocks)
        if self.bounds is None or not len(self):
            return pieces
        return np.logical_or.reduceat(pieces, self.bounds[:-1])

    @classmethod
    def joined(cls, parts: Sequence[Runs]) -> Runs:
        """Samples laid end to end; at least one part, all of single rows, or none of them."""
        blocks, rows = (np.concatenate([getattr(part, of) for part in parts]) for of in ("blocks", "rows"))
        lengths = [part.lengths for part in parts if part.lengths is not None]
        if not lengths:
            return cls(blocks=blocks, rows=rows)
        counts = [np.diff(part.bounds) for part in parts if part.bounds is not None]
        bounds = np.concatenate([[0], np.cumsum(np.concatenate(counts), dtype=np.int64)])
        return cls(blocks=blocks, rows=rows, lengths=np.concatenate(lengths), bounds=bounds)


def cut(line: Int64, starts: Int64, length: int) -> Runs:
    """Runs of rows of a line of blocks.

    Args:
        line: the rows at which each block begins, then their number, as `edges` gives it.
        starts: each sample's first row on the line.
        length: rows in each sample, at least 1; all on the line.

    Returns:
        the samples; their `blocks` are numbers of places on the line.
    """
    first = np.searchsorted(line, starts, side="right") - 1
    last = np.searchsorted(line, starts + length - 1, side="right") - 1
    places, bounds = ranges(first, last + 1)
    counts = np.diff(bounds)
    begins = np.maximum(np.repeat(starts, counts), line[places])
    lengths = np.minimum(np.repeat(starts + length, counts), line[places + 1]) - begins
    pieces = np.flatnonzero(lengths)  # blocks may be empty
    return Runs(
        blocks=places[pieces],
        rows=(begins - line[places])[pieces],
        lengths=lengths[pieces],
        bounds=np.searchsorted(pieces, bounds),
    )


def ranges(starts: Int64, stops: Int64) -> tuple[Int64, Int64]:
    """The numbers of several ranges laid end to end, and where in that each range begins, then its length."""
    counts = stops - starts
    bounds = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
    numbers = np.arange(bounds[-1], dtype=np.int64) + np.repeat(starts - bounds[:-1], counts)
    return numbers, bounds
