"""Reads samples by address: whole blocks are fetched, checked, and kept in memory while they are useful."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from threading import Lock

import numpy as np
import pyarrow as pa

from workers.data.cache import NodeCache
from workers.data.dataset import Dataset
from workers.data.fetch import fetch, matches
from workers.data.formats import DECODERS
from workers.data.manifest import BlockSpec
from workers.data.permutation import Int64
from workers.errors import DamagedBlockError, DataError

CACHE_BYTES = 1 << 30
_FETCHES_AT_ONCE = 32  # small objects need many: each waits for its own answer


class BlockReader:
    """Gathers samples from a data set. Safe to share between threads.

    A block that is wanted is fetched once, by a few threads at a time, and kept until `cache_bytes` of more
    recently used blocks push it out.

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
        self._kept: OrderedDict[int, Future[pa.RecordBatch]] = OrderedDict()  # least recently used first
        self._kept_bytes = 0
        self._lock = Lock()
        self._pool = ThreadPoolExecutor(_FETCHES_AT_ONCE, thread_name_prefix="fetch")

    def gather(self, blocks: Int64, rows: Int64) -> pa.RecordBatch:
        """The samples at `rows` of `blocks`, in this order; at least one.

        Raises:
            DamagedBlockError: a block is missing, truncated or altered.
            AccessError, UnreachableError: from the store.
        """
        return self.begin(blocks, rows).parts([len(blocks)])[0]

    def begin(self, blocks: Int64, rows: Int64) -> Gathering:
        """Start to fetch what `gather` would return, without waiting for it."""
        distinct, places = np.unique(blocks, return_inverse=True)
        wanted = [self._want(block) for block in distinct.tolist()]
        lengths = self.dataset.manifest.lengths[distinct].tolist()
        missing = sum(size for size, block in zip(lengths, wanted, strict=True) if not block.done())
        return Gathering(blocks=wanted, places=places, rows=np.asarray(rows), missing_bytes=missing)

    def close(self) -> None:
        """Give up fetches that have not begun; does not wait for those that have."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _want(self, block: int) -> Future[pa.RecordBatch]:
        with self._lock:
            found = self._kept.get(block)
            if found is not None and not _failed(found):
                self._kept.move_to_end(block)
                return found
            lengths = self.dataset.manifest.lengths
            if found is None:
                self._kept_bytes += int(lengths[block])
            wanted = self._kept[block] = self._pool.submit(self._load, block)
            self._kept.move_to_end(block)
            while self._kept_bytes > self._cache_bytes and len(self._kept) > 1:
                oldest, _ = self._kept.popitem(last=False)
                self._kept_bytes -= int(lengths[oldest])
            return wanted

    def _load(self, number: int) -> pa.RecordBatch:
        try:
            return self._decoded(number)
        except DataError as error:
            block = self._first_block + number
            raise DamagedBlockError(error.what, block=block, where=error.where, fix=error.fix) from error

    def _decoded(self, number: int) -> pa.RecordBatch:
        manifest = self.dataset.manifest
        block = manifest.block(number)
        data = self._fetch(block)
        try:
            records = DECODERS[manifest.format](manifest, block, data)
            if records.num_rows != block.rows:
                raise ValueError(f"{records.num_rows} rows instead of {block.rows}")
        except (ValueError, OSError) as error:  # pyarrow's errors are among these
            where = self.dataset.address(block)
            raise DataError(f"block {number} does not decode: {error}", where=where) from error
        return records if self._schema is None else pa.record_batch(records.columns, schema=self._schema)

    def _fetch(self, block: BlockSpec) -> pa.Buffer:
        if self._on_disk is None or not block.length:
            return fetch(self.dataset, block)
        return self._on_disk.block(
            self.dataset.manifest.digest,
            block.number,
            fetch=lambda: fetch(self.dataset, block),
            fits=lambda data: matches(block, data),
        )


@dataclass(frozen=True, kw_only=True)
class Gathering:
    """Samples on their way: the distinct blocks that hold them, and where in those they are."""

    blocks: list[Future[pa.RecordBatch]]
    places: Int64  # each sample's block
    rows: Int64  # each sample's row in it
    missing_bytes: int  # of blocks that had to be fetched, or were on their way

    @property
    def is_there(self) -> bool:
        """Whether all blocks have arrived."""
        return all(block.done() for block in self.blocks)

    def piece(self, start: int, count: int) -> Gathering:
        """`count` of the samples, from number `start` on."""
        inside = slice(start, start + count)
        distinct, places = np.unique(self.places[inside], return_inverse=True)
        blocks = [self.blocks[number] for number in distinct.tolist()]
        return Gathering(blocks=blocks, places=places, rows=self.rows[inside], missing_bytes=0)

    def parts(self, counts: Sequence[int]) -> list[pa.RecordBatch]:
        """Wait for the blocks and copy the samples out, in order, each part into fresh and aligned memory.

        Args:
            counts: samples in each part, at least 1; in all, as many as there are.
        """
        order = np.argsort(self.places, kind="stable")
        bounds = np.searchsorted(self.places[order], np.arange(len(self.blocks) + 1))
        picked = [
            block.result().take(pa.array(self.rows[order[begin:end]]))
            for block, begin, end in zip(self.blocks, bounds, bounds[1:], strict=False)
        ]
        back = np.empty_like(order)
        back[order] = np.arange(len(order))
        together = pa.concat_batches(picked)
        return [together.take(pa.array(places)) for places in np.split(back, np.cumsum(counts)[:-1])]


def _failed(future: Future[pa.RecordBatch]) -> bool:
    return future.cancelled() or (future.done() and future.exception() is not None)
