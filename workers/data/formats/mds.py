"""MosaicML's MDS shards: a table of offsets, then samples; what the columns are stands in `index.json`.

A sample is the sizes of its columns of varying size (uint32 each), then all columns, end to end. So a block,
a run of samples, can be read alone. See https://github.com/mosaicml/streaming, `streaming/base/format/mds`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from workers.data.blocks import Block
from workers.data.formats.layout import Layout
from workers.data.manifest import BlockSpec, Manifest
from workers.data.ranged import Read
from workers.errors import DataError

INDEX = "index.json"
BLOCK_BYTES = 4 << 20
_ENCODING, _SIZE = b"mds", b"mds.size"  # in the metadata of a column
_SIZE_BYTES = 4
_TEXT = {"str", "json", "str_int", "str_float", "str_decimal"}
_NUMBERS = {"int": pa.int64()} | {
    kind: pa.type_for_alias(kind)
    for kind in (
        *("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
        *("float16", "float32", "float64"),
    )
}


class Shard(NamedTuple):
    """One file of samples."""

    name: str
    size: int  # bytes
    samples: int


@dataclass(frozen=True, kw_only=True)
class Index:
    """What `index.json` says."""

    schema: pa.Schema
    shards: list[Shard]


def read_index(text: bytes, *, where: str) -> Index:
    """The columns and the files of a data set.

    Numbers and fixed arrays of numbers become Arrow's, text becomes strings, everything else stays the bytes
    that it is stored as; the column's metadata says how (`mds`: the encoding).

    Raises:
        DataError: not an index, compressed shards, pickled columns, or shards with unlike columns.
    """
    try:
        entries = json.loads(text)["shards"]
        schemas = [_schema(entry, where) for entry in entries]
        shards = [Shard(e["raw_data"]["basename"], e["raw_data"]["bytes"], e["samples"]) for e in entries]
    except (ValueError, KeyError, TypeError) as error:
        fix = "write it again with streaming.MDSWriter"
        raise DataError(f"cannot read this as an MDS index: {error!r}", where=where, fix=fix) from error
    if not shards:
        raise DataError("the index names no shards", where=where, fix="write some samples")
    for number, schema in enumerate(schemas):
        if not schema.equals(schemas[0], check_metadata=True):
            what = f"the columns of {shards[number].name} differ from the first shard's"
            raise DataError(what, where=where, fix="bring all shards to the same columns and encodings")
    return Index(schema=schemas[0], shards=shards)


def scan(
    read: Read, shard: Shard, schema: pa.Schema, *, where: str, block_bytes: int = BLOCK_BYTES
) -> Layout:
    """Cut a shard into blocks by its table of offsets.

    Args:
        read: reads a range of the file.
        shard, schema: what the index says of it.
        where: the file's address, for messages.
        block_bytes: of a block, at most, unless one sample is larger.

    Raises:
        DataError: the table is not that of this shard.
    """
    head = np.frombuffer(read(0, _SIZE_BYTES * (shard.samples + 2)), dtype="<u4")
    offsets = head[1:].astype(np.int64)
    sound = len(head) == shard.samples + 2 and head[0] == shard.samples and offsets[-1] == shard.size
    if not sound or offsets[0] < head.nbytes or (np.diff(offsets) < 0).any():
        fix = "copy it again, or write the data set anew"
        raise DataError("its table of offsets does not go with the index", where=where, fix=fix)
    blocks, begin = [], 0
    while begin < shard.samples:
        end = int(np.searchsorted(offsets, offsets[begin] + block_bytes, side="right")) - 1
        end = min(max(end, begin + 1), shard.samples)
        start, stop = int(offsets[begin]), int(offsets[end])
        blocks.append(Block(offset=start, length=stop - start, rows=end - begin))
        begin = end
    return Layout(schema=schema, blocks=blocks)


def decode(manifest: Manifest, block: BlockSpec, data: pa.Buffer) -> pa.RecordBatch:
    """The block's samples; columns as `read_index` says."""
    schema = manifest.schema
    sizes = [int(field.metadata[_SIZE]) for field in schema]
    octets = np.frombuffer(data, dtype=np.uint8)
    if all(sizes):
        table = octets.reshape(block.rows, sum(sizes))
        parts = np.split(table, np.cumsum(sizes)[:-1], axis=1)
        arrays = [_fixed(part, field.type) for part, field in zip(parts, schema, strict=True)]
    else:
        bounds = _bounds(octets, block.rows, sizes)
        view = memoryview(data)
        arrays = [
            _column([view[start:stop] for start, stop in bounds[:, number]], field.type)
            for number, field in enumerate(schema)
        ]
    return pa.record_batch(arrays, schema=schema)


def _schema(entry: dict[str, Any], where: str) -> pa.Schema:
    if entry["format"] != "mds" or entry["version"] != 2:
        raise ValueError(f"format {entry['format']} {entry['version']} is not mds 2")
    if entry["compression"] is not None:
        fix = "write it without compression, or convert it: ranges of compressed shards cannot be read"
        raise DataError(f"its shards are compressed ({entry['compression']})", where=where, fix=fix)
    columns = zip(entry["column_names"], entry["column_encodings"], entry["column_sizes"], strict=True)
    return pa.schema([_field(name, encoding, size or 0, where) for name, encoding, size in columns])


def _field(name: str, encoding: str, size: int, where: str) -> pa.Field:
    if encoding == "pkl":
        fix = "write it with another encoding: reading a pickle runs whatever code is in it"
        raise DataError(f"the column {name} is pickled", where=where, fix=fix)
    kind, _, details = encoding.partition(":")
    stored: pa.DataType = pa.large_binary()
    if encoding in _TEXT:
        stored = pa.large_string()
    elif encoding in _NUMBERS:
        stored = _NUMBERS[encoding]
    elif kind == "ndarray" and size:
        element, _, shape = details.partition(":")
        stored = pa.list_(_NUMBERS[element], prod(map(int, shape.split(","))))
    return pa.field(name, stored, nullable=False, metadata={_ENCODING: encoding, _SIZE: str(size)})


def _fixed(table: npt.NDArray[np.uint8], kind: pa.DataType) -> pa.Array:
    """Rows of equal size, as one column."""
    rows, size = table.shape
    buffer = pa.py_buffer(np.ascontiguousarray(table))
    if pa.types.is_fixed_size_list(kind):
        elements = pa.Array.from_buffers(kind.value_type, rows * kind.list_size, [None, buffer])
        return pa.FixedSizeListArray.from_arrays(elements, type=kind)
    if pa.types.is_large_binary(kind) or pa.types.is_large_string(kind):
        offsets = pa.py_buffer(np.arange(0, (rows + 1) * size, size, dtype=np.int64))
        return pa.Array.from_buffers(kind, rows, [None, offsets, buffer])
    return pa.Array.from_buffers(kind, rows, [None, buffer])


def _column(values: Sequence[memoryview], kind: pa.DataType) -> pa.Array:
    """Values of any size, as one column."""
    if pa.types.is_large_binary(kind) or pa.types.is_large_string(kind):
        offsets = np.cumsum([0, *map(len, values)], dtype=np.int64)
        return pa.Array.from_buffers(
            kind, len(values), [None, pa.py_buffer(offsets), pa.py_buffer(b"".join(values))]
        )
    table = np.frombuffer(b"".join(values), dtype=np.uint8).reshape(len(values), -1)
    return _fixed(table, kind)


def _bounds(octets: npt.NDArray[np.uint8], rows: int, sizes: Sequence[int]) -> npt.NDArray[np.int64]:
    """Where each column of each sample begins and ends; int64 of shape (rows, columns, 2)."""
    varying = [number for number, size in enumerate(sizes) if not size]
    head = _SIZE_BYTES * len(varying)
    lengths = np.tile(np.array(sizes, dtype=np.int64), (rows, 1))
    starts = np.empty(rows, dtype=np.int64)
    position, fixed = 0, head + sum(sizes)
    for row in range(rows):
        found = octets[position : position + head].view("<u4")
        lengths[row, varying] = found
        starts[row] = position + head
        position += fixed + int(found.sum())
    if position != len(octets):
        raise ValueError(f"its samples take {position} bytes of {len(octets)}")
    ends = starts[:, None] + np.cumsum(lengths, axis=1)
    return np.stack([ends - lengths, ends], axis=2)
