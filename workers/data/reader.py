"""Reads samples by address: whole blocks are fetched, checked, and kept in memory while they are useful."""

from __future__ import annotations

from threading import Lock

import numpy as np
import pyarrow as pa

from workers.data.cache import NodeCache
from workers.data.dataset import Dataset
from workers.data.fetch import Fetched, fetch, matches
from workers.data.flights import AT_ONCE, Flight, Flights
from workers.data.formats import DECODERS
from workers.data.gathering import Gathering, Sent
from workers.data.kept import KeptBlocks
from workers.data.manifest import BlockSpec
from workers.data.order import GLOBAL_BELOW_BYTES
from workers.data.packing import block_rows, sample_rows, values
from workers.data.permutation import Int64
from workers.data.records import joined, lies_in
from workers.data.runs import Runs
from workers.errors import DamagedBlockError, DataError
from workers.protocol import Packing

CACHE_BYTES = 1 << 30
_FILES_AT_ONCE = 2
#: Samples that are this large on average are not copied out of their blocks: a call each costs less.
_LARGE_BYTES = 16 << 10


class BlockReader:
    """Gathers samples from a data set. Safe to share between threads.

    A block that is wanted is fetched once, by a few threads at a time, and kept until `cache_bytes` of more
    recently used blocks push it out. One that is waited for, and takes far longer than others of its size, is
    asked for again; the answer that is there first counts. All are checked.

    Args:
        dataset: what to read.
        cache_bytes: stored bytes of blocks to keep in memory, in this process.
        on_disk: where to look for blocks before the store is asked.
        schema: of the records, if not the data set's: the same columns, but for metadata and nullability.
        first_block: what its first block is called in errors; of a mixture, all blocks are counted through.
        packing: of its samples. A block's rows are then the values that the lists of its samples hold.
    """

    def __init__(
        self,
        dataset: Dataset,
        cache_bytes: int = CACHE_BYTES,
        on_disk: NodeCache | None = None,
        schema: pa.Schema | None = None,
        first_block: int = 0,
        packing: Packing | None = None,
    ) -> None:
        self.dataset, self._on_disk, self._schema, self._packing = dataset, on_disk, schema, packing
        self._block_rows = block_rows(dataset, packing)
        self._first_block = first_block
        everywhere = dataset.manifest.bytes < GLOBAL_BELOW_BYTES  # is where the next samples may be
        self._kept = KeptBlocks(cache_bytes, GLOBAL_BELOW_BYTES if everywhere else cache_bytes)
        self._lock = Lock()
        self.flights = Flights(self._load, at_once=_at_once(dataset))

    @property
    def sample_bytes(self) -> float:
        """Stored bytes of a sample, on average."""
        return sample_rows(self._packing) * self.dataset.manifest.bytes / max(1, int(self._block_rows.sum()))

    def gather(self, blocks: Int64, rows: Int64) -> pa.RecordBatch:
        """The rows of blocks, in this order; at least one.

        Raises:
            DamagedBlockError: a block is missing, truncated or altered.
            AccessError, UnreachableError: from the store.
        """
        return joined(self.begin(Runs(blocks=blocks, rows=np.asarray(rows))).parts([len(blocks)])[0])

    def begin(self, runs: Runs) -> Gathering:
        """Start to fetch samples, at least one, without waiting for them."""
        return Gathering.of(self.send(runs.blocks), runs)

    def send(self, blocks: Int64) -> Sent:
        """Start to fetch blocks; there may be some of them several times."""
        distinct, places = np.unique(blocks, return_inverse=True)
        wanted = [self.want(block) for block in distinct.tolist()]
        lengths = self.dataset.manifest.lengths[distinct]
        missing = sum(
            size for size, it in zip(lengths.tolist(), wanted, strict=True) if not it.arrived.done()
        )
        large = bool(lengths.sum() >= _LARGE_BYTES * self._block_rows[distinct].sum())
        return Sent(
            readers=[self] * len(wanted), flights=wanted, places=places, missing_bytes=missing, large=large
        )

    def close(self) -> None:
        """Give up fetches that have not begun, and all that is kept; does not wait for fetches that have."""
        self.flights.close()
        with self._lock:
            self._kept.clear()

    def want(self, block: int) -> Flight:
        """A block, there or on its way; begun anew if it failed before."""
        with self._lock:
            found = self._kept.get(block)
            if found is None:
                found = self.flights.send(block, int(self.dataset.manifest.lengths[block]))
                self._kept.put(found)
            return found

    def _load(self, flight: Flight, second: bool) -> pa.RecordBatch:
        try:
            return self._decoded(flight, second)
        except DataError as error:
            block = self._first_block + flight.block
            raise DamagedBlockError(error.what, block=block, where=error.where, fix=error.fix) from error

    def _decoded(self, flight: Flight, second: bool) -> pa.RecordBatch:
        manifest, number = self.dataset.manifest, flight.block
        block = manifest.block(number)
        fetched = self._fetch(flight, block, second)
        try:
            records = DECODERS[manifest.format](manifest, block, fetched.data)
            if records.num_rows != block.rows:
                raise ValueError(f"{records.num_rows} rows instead of {block.rows}")
        except (ValueError, OSError) as error:  # pyarrow's errors are among these
            where = self.dataset.address(block)
            raise DataError(f"block {number} does not decode: {error}", where=where) from error
        if self._packing is not None:
            where = self.dataset.address(block)
            records = values(records, self._packing, int(self._block_rows[number]), where=where)
        elif self._schema is not None:
            records = pa.record_batch(records.columns, schema=self._schema)
        if fetched.mapped and lies_in(records, fetched.data):
            with self._lock:
                flight.mapped, flight.file = True, fetched.file
                self._kept.arrived(flight)
        return records

    def _fetch(self, flight: Flight, block: BlockSpec, second: bool) -> Fetched:
        def from_store() -> Fetched:
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


def _at_once(dataset: Dataset) -> int:
    """Blocks to fetch at a time. Those of local files hardly wait, and more would be in each other's way."""
    is_local = dataset.store.uri.startswith("file:") and not dataset.manifest.single_rows
    return _FILES_AT_ONCE if is_local else AT_ONCE
