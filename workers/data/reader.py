"""Reads samples by address: whole blocks are fetched, checked, and kept in memory while they are useful."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from threading import Lock

import numpy as np
import pyarrow as pa

from workers.data.cache import NodeCache
from workers.data.dataset import Dataset
from workers.data.fetch import fetch, matches
from workers.data.flights import Flight, Flights
from workers.data.formats import DECODERS
from workers.data.manifest import BlockSpec
from workers.data.permutation import Int64
from workers.data.records import Records, joined
from workers.errors import DamagedBlockError, DataError

CACHE_BYTES = 1 << 30
#: Samples that are this large on average are not copied out of their blocks: a call each costs less.
_LARGE_BYTES = 16 << 10


class BlockReader:
    """Gathers samples from a data set. Safe to share between threads.

    A block that is wanted is fetched once, by a few threads at a time, and kept until `cache_bytes` of more
    recently used blocks push it out. One that is waited for, and takes far longer than others of its size, is
    asked for a second time; the answer that is there first counts. Both are checked.

    Args:
        dataset: what to read.
        cache_bytes: stored bytes of blocks to keep in memory, in this process.
        on_disk: where to look for blocks before the store is asked.
        schema: of the records, if not the data set's: the same columns, but for metadata and nullability.
        first_block: what its first block is called in errors; of a mixture, all blocks are counted through.
    """

    def __init__(
        self,
        dataset: Dataset,
        cache_bytes: int = CACHE_BYTES,
        on_disk: NodeCache | None = None,
        schema: pa.Schema | None = None,
        first_block: int = 0,
    ) -> None:
        self.dataset, self._on_disk, self._schema = dataset, on_disk, schema
        self._cache_bytes, self._first_block = cache_bytes, first_block
        self._kept: OrderedDict[int, Flight] = OrderedDict()  # least recently used first
        self._kept_bytes = 0
        self._lock = Lock()
        self.flights = Flights(self._load)

    @property
    def sample_bytes(self) -> float:
        """Stored bytes of a sample, on average."""
        return self.dataset.manifest.bytes / max(1, self.dataset.rows)

    def gather(self, blocks: Int64, rows: Int64) -> pa.RecordBatch:
        """The samples at `rows` of `blocks`, in this order; at least one.

        Raises:
            DamagedBlockError: a block is missing, truncated or altered.
            AccessError, UnreachableError: from the store.
        """
        return joined(self.begin(blocks, rows).parts([len(blocks)])[0])

    def begin(self, blocks: Int64, rows: Int64) -> Gathering:
        """Start to fetch what `gather` would return, without waiting for it."""
        distinct, places = np.unique(blocks, return_inverse=True)
        wanted = [self.want(block) for block in distinct.tolist()]
        manifest = self.dataset.manifest
        lengths = manifest.lengths[distinct]
        missing = sum(
            size for size, it in zip(lengths.tolist(), wanted, strict=True) if not it.arrived.done()
        )
        return Gathering(
            readers=[self] * len(wanted),
            flights=wanted,
            places=places,
            rows=np.asarray(rows),
            missing_bytes=missing,
            large=bool(lengths.sum() >= _LARGE_BYTES * manifest.block_rows[distinct].sum()),
        )

    def close(self) -> None:
        """Give up fetches that have not begun; does not wait for those that have."""
        self.flights.close()

    def want(self, block: int) -> Flight:
        """A block, there or on its way; begun anew if it failed before."""
        with self._lock:
            found = self._kept.get(block)
            if found is not None and not found.failed:
                self._kept.move_to_end(block)
                return found
            length = int(self.dataset.manifest.lengths[block])
            if found is None:
                self._kept_bytes += length
            wanted = self._kept[block] = self.flights.send(block, length)
            self._kept.move_to_end(block)
            while self._kept_bytes > self._cache_bytes and len(self._kept) > 1:
                _, oldest = self._kept.popitem(last=False)
                self._kept_bytes -= oldest.size_bytes
            return wanted

    def _load(self, flight: Flight, second: bool) -> pa.RecordBatch:
        try:
            return self._decoded(flight, second)
        except DataError as error:
            block = self._first_block + flight.block
            raise DamagedBlockError(error.what, block=block, where=error.where, fix=error.fix) from error

    def _decoded(self, flight: Flight, second: bool) -> pa.RecordBatch:
        manifest, number = self.dataset.manifest, flight.block
        block = manifest.block(number)
        data = self._fetch(flight, block, second)
        try:
            records = DECODERS[manifest.format](manifest, block, data)
            if records.num_rows != block.rows:
                raise ValueError(f"{records.num_rows} rows instead of {block.rows}")
        except (ValueError, OSError) as error:  # pyarrow's errors are among these
            where = self.dataset.address(block)
            raise DataError(f"block {number} does not decode: {error}", where=where) from error
        return records if self._schema is None else pa.record_batch(records.columns, schema=self._schema)

    def _fetch(self, flight: Flight, block: BlockSpec, second: bool) -> pa.Buffer:
        def from_store() -> pa.Buffer:
            self.flights.asks(flight)
            return fetch(self.dataset, block)

        if self._on_disk is None or not block.length:
            return from_store()
        return self._on_disk.block(
            self.dataset.manifest.digest,
            block.number,
            fetch=from_store,
            fits=lambda data: matches(block, data),
            alone=not second,  # the first request holds the place, and whoever holds it may wait for long
        )


@dataclass(frozen=True, kw_only=True)
class Gathering:
    """Samples on their way: the distinct blocks that hold them, and where in those they are."""

    readers: list[BlockReader]  # of each block
    flights: list[Flight]
    places: Int64  # each sample's block
    rows: Int64  # each sample's row in it
    missing_bytes: int  # of blocks that had to be fetched, or were on their way
    large: bool  # samples on average; decides whether they are copied, not what comes out

    @property
    def is_there(self) -> bool:
        """Whether all blocks have arrived."""
        return all(flight.arrived.done() for flight in self.flights)

    def wait(self, stopped: Future[None] | None = None) -> bool:
        """Until all blocks have arrived, or failed; False as soon as `stopped` is done before that."""
        also = () if stopped is None else (stopped,)
        for number, flight in enumerate(self.flights):
            while not flight.arrived.done() or flight.cancelled:
                if flight.cancelled:  # by somebody else, who wanted it no more
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
        inside = slice(start, start + count)
        distinct, places = np.unique(self.places[inside], return_inverse=True)
        return Gathering(
            readers=[self.readers[number] for number in distinct.tolist()],
            flights=[self.flights[number] for number in distinct.tolist()],
            places=places,
            rows=self.rows[inside],
            missing_bytes=0,
            large=self.large,
        )

    def parts(self, counts: Sequence[int]) -> list[Records]:
        """Wait for the blocks and pick the samples, in order. Large ones stay where they are, in pieces.

        Args:
            counts: samples in each part, at least 1; in all, as many as there are.
        """
        self.wait()
        if self.large:
            return self._in_pieces(counts)
        order = np.argsort(self.places, kind="stable")
        bounds = np.searchsorted(self.places[order], np.arange(len(self.flights) + 1))
        picked = [
            flight.arrived.result().take(pa.array(self.rows[order[begin:end]]))
            for flight, begin, end in zip(self.flights, bounds, bounds[1:], strict=False)
        ]
        back = np.empty_like(order)
        back[order] = np.arange(len(order))
        together = pa.concat_batches(picked)
        return [together.take(pa.array(places)) for places in np.split(back, np.cumsum(counts)[:-1])]

    def _in_pieces(self, counts: Sequence[int]) -> list[Records]:
        blocks = [flight.arrived.result() for flight in self.flights]
        addresses = zip(self.places.tolist(), self.rows.tolist(), strict=True)
        samples = [blocks[place].slice(row, 1) for place, row in addresses]
        ends = np.cumsum(counts).tolist()
        return [
            pa.Table.from_batches(samples[end - count : end]) for count, end in zip(counts, ends, strict=True)
        ]


