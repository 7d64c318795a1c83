"""Reads samples by address: whole blocks are fetched, checked, and kept in memory while they are useful."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from threading import Lock
from typing import TypeAlias

import numpy as np
import pyarrow as pa

from workers.data.cache import NodeCache
from workers.data.dataset import Dataset
from workers.data.fetch import fetch, matches
from workers.data.formats import DECODERS
from workers.data.manifest import BlockSpec
from workers.data.permutation import Int64
from workers.errors import DataError

#: Samples, one a row: in one piece in memory of their own, or in pieces that are still parts of blocks.
Records: TypeAlias = pa.RecordBatch | pa.Table

CACHE_BYTES = 1 << 30
#: Samples that are this large on average are not copied out of their blocks: a call each costs less.
_LARGE_BYTES = 16 << 10
_FETCHES_AT_ONCE = 32  # small objects need many: each waits for its own answer


class BlockReader:
    """Gathers samples from a data set. Safe to share between threads.

    A block that is wanted is fetched once, by a few threads at a time, and kept until `cache_bytes` of more
    recently used blocks push it out.

    Args:
        dataset: what to read.
        cache_bytes: stored bytes of blocks to keep in memory, in this process.
        on_disk: where to look for blocks before the store is asked.
    """

    def __init__(
        self, dataset: Dataset, cache_bytes: int = CACHE_BYTES, on_disk: NodeCache | None = None
    ) -> None:
        self.dataset, self._on_disk = dataset, on_disk
        self._cache_bytes = cache_bytes
        self._kept: OrderedDict[int, Future[pa.RecordBatch]] = OrderedDict()  # least recently used first
        self._kept_bytes = 0
        self._lock = Lock()
        self._pool = ThreadPoolExecutor(_FETCHES_AT_ONCE, thread_name_prefix="fetch")

    def gather(self, blocks: Int64, rows: Int64) -> pa.RecordBatch:
        """The samples at `rows` of `blocks`, in this order; at least one.

        Raises:
            DataError: a block is missing, truncated or altered.
            AccessError, UnreachableError: from the store.
        """
        return joined(self.begin(blocks, rows).parts([len(blocks)])[0])

    def begin(self, blocks: Int64, rows: Int64) -> Gathering:
        """Start to fetch what `gather` would return, without waiting for it."""
        distinct, places = np.unique(blocks, return_inverse=True)
        wanted = [self._want(block) for block in distinct.tolist()]
        manifest = self.dataset.manifest
        lengths = manifest.lengths[distinct]
        missing = sum(size for size, block in zip(lengths.tolist(), wanted, strict=True) if not block.done())
        large = bool(lengths.sum() >= _LARGE_BYTES * manifest.block_rows[distinct].sum())
        return Gathering(
            blocks=wanted, places=places, rows=np.asarray(rows), missing_bytes=missing, large=large
        )

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
        return records

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
    large: bool  # samples on average; decides whether they are copied, not what comes out

    @property
    def is_there(self) -> bool:
        """Whether all blocks have arrived."""
        return all(block.done() for block in self.blocks)

    def parts(self, counts: Sequence[int]) -> list[Records]:
        """Wait for the blocks and pick the samples, in order. Large ones stay where they are, in pieces.

        Args:
            counts: samples in each part, at least 1; in all, as many as there are.
        """
        if self.large:
            return self._in_pieces(counts)
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

    def _in_pieces(self, counts: Sequence[int]) -> list[Records]:
        blocks = [block.result() for block in self.blocks]
        addresses = zip(self.places.tolist(), self.rows.tolist(), strict=True)
        samples = [blocks[place].slice(row, 1) for place, row in addresses]
        ends = np.cumsum(counts).tolist()
        return [
            pa.Table.from_batches(samples[end - count : end]) for count, end in zip(counts, ends, strict=True)
        ]


def joined(records: Records) -> pa.RecordBatch:
    """Samples in one piece, in fresh and aligned memory."""
    if isinstance(records, pa.RecordBatch):
        return records
    pieces = records.to_batches()
    # A single one would not be copied by putting it together with none.
    return pa.concat_batches(pieces) if len(pieces) > 1 else pieces[0].take(pa.array([0]))


def _failed(future: Future[pa.RecordBatch]) -> bool:
    return future.cancelled() or (future.done() and future.exception() is not None)
