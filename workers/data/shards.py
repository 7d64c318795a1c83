"""Writes Arrow IPC shards, whose record batches are the blocks of a data set."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import pyarrow as pa
from crc32c import crc32c

from workers.data.blocks import Block, BlockTable
from workers.data.formats import arrow
from workers.data.lists import count_values
from workers.data.manifest import NAME, Manifest, exists_already
from workers.errors import DataError
from workers.storage import Store

BLOCK_BYTES = 4 << 20
SHARD_BYTES = 128 << 20
_SMALL_BLOCK_BYTES = 64 << 10
_BLOCKS_MIN = 32

Record = Mapping[str, Any]


def write_shards(
    records: Iterable[Record],
    schema: pa.Schema,
    dest: str,
    *,
    block_bytes: int = BLOCK_BYTES,
    shard_bytes: int = SHARD_BYTES,
    overwrite: bool = False,
) -> Manifest:
    """Write records as a data set: shards first, the manifest last, so that half of one never looks whole.

    The same records give the same bytes and the same digest, wherever they are written.

    Args:
        records: samples, in the order in which they are stored.
        schema: their columns. Dictionary-encoded columns are refused.
        dest: URI of the data set.
        block_bytes: payload of a block, at most, unless one sample is larger. A shard that would have fewer
            than 32 blocks gets smaller ones (not below 64 KiB): so small sets, too, are fetched in
            parallel, and a window of blocks still mixes.
        shard_bytes: payload of a shard, at most, unless one sample is larger. One shard is held in memory.
        overwrite: replace a data set that is there.

    Raises:
        DataError: no records, one that does not fit the schema, or a data set is there already.
        AccessError, UnreachableError: from the store.
    """
    if any(pa.types.is_dictionary(field.type) for field in schema):
        raise DataError("dictionary-encoded columns cannot be packed", where=dest, fix="use their value type")
    store = Store(dest)
    if store.exists(NAME):
        if not overwrite:
            raise exists_already(store)
        store.delete([NAME])
    table = BlockTable()
    for number, sized in enumerate(_cut(_sized(records), shard_bytes)):
        name = shard_name(number)
        limit = block_limit(sum(size for size, _ in sized), block_bytes)
        batches = [_batch([record for _, record in block], schema, dest) for block in _cut(sized, limit)]
        data, blocks = shard(batches, schema)
        store.put(name, data)
        table.add(name=name, size=len(data), etag=None, blocks=blocks)
    if not table.rows:
        raise DataError("there are no samples to pack", where=dest, fix="check the source")
    manifest = table.manifest("arrow", schema)
    manifest.save(store, replace=overwrite)
    return manifest


def shard_name(number: int) -> str:
    """Of a data set's shard, counted from 0."""
    return f"shard-{number:05d}.arrow"


def block_limit(shard_size: int, block_bytes: int) -> int:
    """Payload of a block, at most, in a shard of so many bytes; see `write_shards`."""
    return min(block_bytes, max(shard_size // _BLOCKS_MIN, _SMALL_BLOCK_BYTES))


def shard(batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> tuple[memoryview, list[Block]]:
    """One Arrow IPC file, and where its record batches lie in it."""
    sink = pa.BufferOutputStream()
    ends, rows, values = [], [], []
    begin = arrow.HEAD_BYTES + schema.serialize().size  # written together with the first block
    with pa.ipc.new_file(sink, schema) as writer:
        for batch in batches:
            writer.write_batch(batch)
            ends.append(sink.tell())
            rows.append(batch.num_rows)
            values.append(count_values(batch))
    data = sink.getvalue()
    starts = [begin, *ends[:-1]]
    return memoryview(data), [
        Block(
            offset=start,
            length=end - start,
            rows=count,
            crc32c=crc32c(data.slice(start, end - start)),
            values=counts,
        )
        for start, end, count, counts in zip(starts, ends, rows, values, strict=True)
    ]


def _batch(records: list[Record], schema: pa.Schema, dest: str) -> pa.RecordBatch:
    try:
        return pa.RecordBatch.from_pylist(records, schema=schema)
    except (pa.ArrowInvalid, pa.ArrowTypeError, TypeError) as error:
        raise DataError(f"a record does not fit the columns: {error}", where=dest) from error


def _sized(records: Iterable[Record]) -> Iterator[tuple[int, Record]]:
    for record in records:
        yield sum(_size(value) for value in record.values()), record


def _size(value: Any) -> int:
    """About how many bytes a value takes in a record batch."""
    if isinstance(value, (bytes, bytearray, memoryview, str)):
        return len(value)
    if isinstance(value, Mapping):
        return sum(_size(part) for part in value.values())
    if isinstance(value, (list, tuple)):
        return sum(_size(part) for part in value)
    return int(getattr(value, "nbytes", 8))


def _cut(sized: Iterable[tuple[int, Record]], limit: int) -> Iterator[list[tuple[int, Record]]]:
    """Cut into runs of at most `limit` bytes, or of one record that is larger."""
    run: list[tuple[int, Record]] = []
    total = 0
    for size, record in sized:
        if run and total + size > limit:
            yield run
            run, total = [], 0
        run.append((size, record))
        total += size
    if run:
        yield run
