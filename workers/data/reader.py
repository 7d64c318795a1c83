"""Reads samples by address: whole blocks are fetched, checked, and kept in memory while they are useful."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from threading import Lock

import numpy as np
import pyarrow as pa

from workers.data.dataset import Dataset
from workers.data.fetch import fetch
from workers.data.formats import DECODERS
from workers.data.permutation import Int64
from workers.errors import DataError

CACHE_BYTES = 1 << 30
_FETCHES_AT_ONCE = 8


class BlockReader:
    """Gathers samples from a data set. Safe to share between threads.

    A block that is wanted is fetched once, by a few threads at a time, and kept until `cache_bytes` of more
    recently used blocks push it out.

    Args:
        dataset: what to read.
        cache_bytes: stored bytes of blocks to keep in memory, in this process.
    """

    def __init__(self, dataset: Dataset, cache_bytes: int = CACHE_BYTES) -> None:
        self.dataset = dataset
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
        return self.begin(blocks, rows).result()

    def begin(self, blocks: Int64, rows: Int64) -> Gathering:
        """Start to fetch what `gather` would return, without waiting for it."""
        distinct, places = np.unique(blocks, return_inverse=True)
        return Gathering(
            parts=[self._want(block) for block in distinct.tolist()], places=places, rows=np.asarray(rows)
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
        data = fetch(self.dataset, block)
        try:
            records = DECODERS[manifest.format](manifest, block, data)
            if records.num_rows != block.rows:
                raise ValueError(f"{records.num_rows} rows instead of {block.rows}")
        except (ValueError, OSError) as error:  # pyarrow's errors are among these
            where = self.dataset.address(block)
            raise DataError(f"block {number} does not decode: {error}", where=where) from error
        return records


@dataclass(frozen=True, kw_only=True)
class Gathering:
    """Samples on their way: the distinct blocks that hold them, and where in those they are."""

    parts: list[Future[pa.RecordBatch]]
    places: Int64  # each sample's part
    rows: Int64  # each sample's row in it

    def result(self) -> pa.RecordBatch:
        """Wait for the blocks and copy the samples out, in order, into fresh and aligned memory."""
        order = np.argsort(self.places, kind="stable")
        bounds = np.searchsorted(self.places[order], np.arange(len(self.parts) + 1))
        picked = [
            part.result().take(pa.array(self.rows[order[begin:end]]))
            for part, begin, end in zip(self.parts, bounds, bounds[1:], strict=False)
        ]
        back = np.empty_like(order)
        back[order] = np.arange(len(order))
        return pa.concat_batches(picked).take(pa.array(back))


@dataclass(frozen=True, kw_only=True)
class Request:
    """The samples of one micro-batch, by address; may be none."""

    epoch: int
    blocks: Int64
    rows: Int64

    def __len__(self) -> int:
        return len(self.blocks)


def read_ahead(
    reader: BlockReader, requests: Iterable[Request]
) -> Iterator[tuple[Request, pa.RecordBatch | None]]:
    """Each request with its samples, in order; the next one is being fetched while one is in use."""
    earlier: tuple[Request, Gathering | None] | None = None
    for request in requests:
        begun = reader.begin(request.blocks, request.rows) if len(request) else None
        if earlier is not None:
            yield _arrived(*earlier)
        earlier = request, begun
    if earlier is not None:
        yield _arrived(*earlier)


def _arrived(request: Request, begun: Gathering | None) -> tuple[Request, pa.RecordBatch | None]:
    return request, None if begun is None else begun.result()


def _failed(future: Future[pa.RecordBatch]) -> bool:
    return future.cancelled() or (future.done() and future.exception() is not None)
