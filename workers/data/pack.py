"""Copies any data set into Arrow shards; goes on with what a packing that was killed has written."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict
from hashlib import sha256

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from workers.data.blocks import Block, BlockTable
from workers.data.dataset import Dataset, home
from workers.data.index import Choice, survey
from workers.data.manifest import FOLDER, NAME, Manifest, exists_already
from workers.data.parallel import at_once
from workers.data.permutation import Int64
from workers.data.reader import BlockReader
from workers.data.shards import BLOCK_BYTES, SHARD_BYTES, block_limit, shard, shard_name
from workers.errors import DataError
from workers.storage import NotFound, Store

_FOLDER = f"{FOLDER}/packing"
_SHARDS_AT_ONCE = 4  # each is held in memory about three times


def pack(
    source: str,
    dest: str,
    *,
    format: Choice = "auto",
    block_bytes: int = BLOCK_BYTES,
    shard_bytes: int = SHARD_BYTES,
    overwrite: bool = False,
    progress: Callable[[int, int], None] = lambda done, rows: None,
) -> Manifest:
    """Pack a data set, or any objects that can be indexed, into Arrow shards at `dest`.

    The manifest comes last, so half a data set never looks whole. Each shard that is done is noted beside the
    data; packing the same source again in the same way goes on after those. The same source gives the same
    bytes and the same digest, wherever it is packed.

    Args:
        source: URI of a data set, of objects as for `workers.data.index.survey`, or of a folder of files.
        dest: URI of the new data set.
        format: of a source that is not indexed.
        block_bytes: as for `workers.data.shards.write_shards`.
        shard_bytes: payload of a shard, at most, unless a block of the source is larger.
        overwrite: replace a data set that is there.
        progress: called with the samples that are packed so far, and all.

    Raises:
        DataError: the source is empty or damaged, or `dest` lies in it, or is a data set already.
        AccessError, UnreachableError: from either store.
    """
    origin, store = _open(source, format), Store(dest)
    if f"{store.uri}/".startswith(f"{origin.store.uri}/"):
        raise DataError("the data set would lie inside its own source", where=dest, fix="name another place")
    if store.exists(NAME):
        if not overwrite:
            raise exists_already(store)
        store.delete([NAME])
    packing = _Packing(origin, store, block_bytes, shard_bytes)
    packing.forget_others()
    table = BlockTable()
    for name, size, blocks in at_once(packing.shard, packing.runs(), _SHARDS_AT_ONCE):
        table.add(name=name, size=size, etag=None, blocks=blocks)
        progress(table.rows, origin.rows)
    manifest = table.manifest("arrow", origin.manifest.schema)
    manifest.save(store, replace=overwrite)
    store.delete([info.name for info in store.list(_FOLDER)])
    return manifest


def _open(uri: str, format: Choice) -> Dataset:
    store = Store(uri)
    try:
        return Dataset(store=home(store), manifest=Manifest.load(store))
    except NotFound:
        return Dataset(store=store, manifest=survey(uri, format=format))


class _Packing:
    """One source on its way into one store."""

    def __init__(self, origin: Dataset, store: Store, block_bytes: int, shard_bytes: int) -> None:
        self._origin, self._store = origin, store
        self._block_bytes, self._shard_bytes = block_bytes, shard_bytes
        self._reader = BlockReader(origin, cache_bytes=0)
        what = f"{origin.manifest.digest} {block_bytes} {shard_bytes}"
        self._notes = f"{_FOLDER}/{sha256(what.encode()).hexdigest()[:16]}"

    def forget_others(self) -> None:
        """Shards of another packing are about to be overwritten."""
        notes = [info.name for info in self._store.list(_FOLDER)]
        self._store.delete([name for name in notes if not name.startswith(f"{self._notes}/")])

    def runs(self) -> Iterator[tuple[int, range]]:
        """The number of each shard, and the blocks of the source that go there."""
        yield from enumerate(_runs(self._origin.manifest.lengths, self._shard_bytes))

    def shard(self, item: tuple[int, range]) -> tuple[str, int, list[Block]]:
        """Write one shard, unless it is there; returns its name, its size and its blocks."""
        number, run = item
        name, note = shard_name(number), f"{self._notes}/{number:05d}.json"
        try:
            found = json.loads(self._store.get(note))
            if self._store.head(name).size == found["size"]:
                return name, found["size"], [Block(**block) for block in found["blocks"]]
        except NotFound:
            pass
        data, blocks = shard(self._batches(run), self._origin.manifest.schema)
        self._store.put(name, data)
        facts = {"size": len(data), "blocks": [asdict(block) for block in blocks]}
        self._store.put(note, json.dumps(facts).encode())
        return name, len(data), blocks

    def _batches(self, run: range) -> Iterator[pa.RecordBatch]:
        rows = self._origin.manifest.block_rows
        parts = [self._reader.gather(np.full(rows[n], n), np.arange(rows[n])) for n in run if rows[n]]
        if parts:
            together = pa.concat_batches(parts)
            sizes = _row_bytes(together)
            for rows_of in _runs(sizes, block_limit(int(sizes.sum()), self._block_bytes)):
                yield together.slice(rows_of.start, len(rows_of))


def _runs(sizes: Int64, limit: int) -> Iterator[range]:
    """Cut into runs of at most `limit` bytes, or of one that is larger."""
    ends = np.cumsum(sizes)
    begin = 0
    while begin < len(sizes):
        before = int(ends[begin - 1]) if begin else 0
        end = max(int(np.searchsorted(ends, before + limit, side="right")), begin + 1)
        yield range(begin, end)
        begin = end


def _row_bytes(batch: pa.RecordBatch) -> Int64:
    """About how many bytes each row takes."""
    sizes = np.zeros(batch.num_rows, dtype=np.int64)
    for column in batch.columns:
        kind = column.type
        if any(is_kind(kind) for is_kind in _SIZED):
            sizes += pc.binary_length(column).fill_null(0).to_numpy(zero_copy_only=False)
        else:
            sizes += -(-column.nbytes // max(1, batch.num_rows))
    return sizes


_SIZED = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_string, pa.types.is_large_string)
