"""Samples on their way: the blocks that hold them, and what is cut from those when they are there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from workers.data import fixed_width
from workers.data.flights import Flight, Flights
from workers.data.permutation import Int64
from workers.data.records import Records
from workers.data.runs import Runs


class Sender(Protocol):
    """Fetches the blocks of a data set."""

    flights: Flights

    def want(self, block: int) -> Flight:
        """A block, there or on its way; begun anew if it failed before."""


@dataclass(frozen=True, kw_only=True)
class Sent:
    """Distinct blocks that are there or on their way.

    Attributes:
        readers: of each block.
        places: for each block that was asked for, which of these it is; int64.
        missing_bytes: of those that had to be fetched, or were on their way.
        large: their samples are, on average; decides whether they are copied, not what comes out.
    """

    readers: list[Sender]
    flights: list[Flight]
    places: Int64
    missing_bytes: int
    large: bool


@dataclass(frozen=True, kw_only=True)
class Gathering:
    """Samples on their way: the distinct blocks that hold them, and where in those they are.

    Attributes:
        readers, flights: of each block.
        runs: the samples, with these blocks by number.
    """

    readers: list[Sender]
    flights: list[Flight]
    runs: Runs
    missing_bytes: int
    large: bool

    @classmethod
    def of(cls, sent: Sent, runs: Runs) -> Gathering:
        """The samples whose blocks were asked for."""
        return cls(
            readers=sent.readers,
            flights=sent.flights,
            runs=replace(runs, blocks=sent.places),
            missing_bytes=sent.missing_bytes,
            large=sent.large,
        )

    @property
    def is_there(self) -> bool:
        """Whether all blocks have arrived."""
        return all(flight.arrived.done() for flight in self.flights)

    def wait(self, stopped: Future[None] | None = None) -> bool:
        """Until all blocks have arrived, or failed; False as soon as `stopped` is done before that."""
        also = () if stopped is None else (stopped,)
        for number, flight in enumerate(self.flights):
            while not flight.arrived.done() or flight.lost:
                if flight.lost:  # to somebody else, who wanted it no more, for one
                    flight = self.flights[number] = self.readers[number].want(flight.block)
                soon = self.readers[number].flights.hurry(flight)
                wait((flight.arrived, *also), soon, FIRST_COMPLETED)
                if stopped is not None and stopped.done():
                    return False
        return True

    def cancel(self) -> None:
        """Nobody wants them any more: give up the fetches that have not begun."""
        for reader, flight in zip(self.readers, self.flights, strict=True):
            reader.flights.cancel(flight)

    def piece(self, start: int, count: int) -> Gathering:
        """`count` of the samples, from number `start` on."""
        runs = self.runs.part(start, start + count)
        distinct, places = np.unique(runs.blocks, return_inverse=True)
        return Gathering(
            readers=[self.readers[number] for number in distinct.tolist()],
            flights=[self.flights[number] for number in distinct.tolist()],
            runs=replace(runs, blocks=places),
            missing_bytes=0,
            large=self.large,
        )

    def parts(self, counts: Sequence[int]) -> list[Records]:
        """Wait for the blocks and pick the samples, in order. Large ones stay where they are, in pieces.

        Args:
            counts: samples in each part, at least 1; in all, as many as there are.
        """
        self.wait()
        blocks = [flight.arrived.result() for flight in self.flights]
        if self.runs.lengths is not None:
            return list(_packed(blocks, self.runs, self.runs.lengths, counts))
        if self.large:
            return _in_pieces(blocks, self.runs, counts)
        return fixed_width.pick(blocks, self.runs, counts) or _copied(blocks, self.runs, counts)


def _copied(blocks: Sequence[pa.RecordBatch], runs: Runs, counts: Sequence[int]) -> list[Records]:
    """Rows, a few calls for each block."""
    order = np.argsort(runs.blocks, kind="stable")
    bounds = np.searchsorted(runs.blocks[order], np.arange(len(blocks) + 1))
    picked = [
        block.take(pa.array(runs.rows[order[begin:end]]))
        for block, begin, end in zip(blocks, bounds, bounds[1:], strict=False)
    ]
    back = np.empty_like(order)
    back[order] = np.arange(len(order))
    together = pa.concat_batches(picked)
    return [together.take(pa.array(places)) for places in np.split(back, np.cumsum(counts)[:-1])]


def _in_pieces(blocks: Sequence[pa.RecordBatch], runs: Runs, counts: Sequence[int]) -> list[Records]:
    """Rows, where they are."""
    addresses = zip(runs.blocks.tolist(), runs.rows.tolist(), strict=True)
    samples = [blocks[place].slice(row, 1) for place, row in addresses]
    ends = np.cumsum(counts).tolist()
    return [
        pa.Table.from_batches(samples[end - count : end]) for count, end in zip(counts, ends, strict=True)
    ]


def _packed(
    blocks: Sequence[pa.RecordBatch], runs: Runs, lengths: Int64, counts: Sequence[int]
) -> Iterator[Records]:
    """Runs of rows, each a list of fixed length in a column of its own name."""
    columns = {name: [block[name].to_numpy() for block in blocks] for name in blocks[0].schema.names}
    pieces = list(zip(runs.blocks.tolist(), runs.rows.tolist(), lengths.tolist(), strict=True))
    size = sum(length for _, _, length in pieces) // len(runs)
    ends = runs.ends[np.cumsum(counts) - 1].tolist()
    for begin, end, count in zip([0, *ends], ends, counts, strict=False):
        arrays = [_lists(values, pieces[begin:end], count, size) for values in columns.values()]
        yield pa.record_batch(arrays, names=list(columns))


def _lists(
    values: Sequence[Any], pieces: Sequence[tuple[int, int, int]], count: int, size: int
) -> pa.FixedSizeListArray:
    """The pieces, laid end to end in fresh and aligned memory, as so many lists of this size."""
    dtype = values[0].dtype
    flat = np.frombuffer(pa.allocate_buffer(count * size * dtype.itemsize), dtype=dtype)
    end = 0
    for block, row, length in pieces:
        flat[end : end + length] = values[block][row : row + length]
        end += length
    return pa.FixedSizeListArray.from_arrays(pa.array(flat), size)
