"""Arrow IPC files: each record batch is one block.

Layout: https://arrow.apache.org/docs/format/Columnar.html#ipc-file-format, schemas in format/File.fbs and
format/Message.fbs. A file is the magic, a stream of messages, the footer, its length and the magic again.
"""

from __future__ import annotations

import pyarrow as pa

from workers.data.blocks import Block
from workers.data.formats.flatbuffer import Table
from workers.data.formats.layout import Layout
from workers.data.lists import counted_columns
from workers.data.manifest import BlockSpec, Manifest
from workers.data.ranged import Read
from workers.errors import DataError

MAGIC = b"ARROW1"
HEAD_BYTES = 8  # the magic, padded; the schema message comes next
_TAIL_BYTES = 4 + len(MAGIC)
_PREFIX_BYTES = 8  # continuation mark and length before a message's metadata
_BLOCK = "<qi4xq"  # struct Block { offset: long; metaDataLength: int; bodyLength: long }
_DICTIONARIES, _RECORD_BATCHES = 2, 3  # fields of table Footer
_HEADER = 2  # field of table Message: the RecordBatch
_LENGTH = 0  # field of table RecordBatch: rows
_NODES = 1  # another: one FieldNode for each column, and for each child of one
_NODE = "<qq"  # struct FieldNode { length: long; null_count: long }


def decode(manifest: Manifest, block: BlockSpec, data: pa.Buffer) -> pa.RecordBatch:
    """The block's record batch, without a copy."""
    return pa.ipc.read_record_batch(pa.ipc.read_message(data), manifest.schema)


def scan(read: Read, size: int, *, where: str) -> Layout:
    """Find the blocks of a file of `size` bytes from its footer and the blocks' headers.

    Args:
        read: reads a range of the file.
        size: of the file, bytes.
        where: the file's address, for messages.

    Raises:
        DataError: not an Arrow IPC file, damaged, or with dictionary-encoded columns.
    """
    try:
        footer = Table.root(_footer(read, size))
        if footer.structs(_DICTIONARIES, _BLOCK):
            raise ValueError("it has dictionary-encoded columns, whose blocks cannot be read on their own")
        places = footer.structs(_RECORD_BATCHES, _BLOCK)
        first = min([offset for offset, _, _ in places], default=size - _TAIL_BYTES)
        schema = pa.ipc.read_schema(pa.py_buffer(read(HEAD_BYTES, first - HEAD_BYTES)))
        nodes = _value_nodes(schema)
        return Layout(schema=schema, blocks=[_block(read, size, nodes, *place) for place in places])
    except (ValueError, pa.ArrowInvalid) as error:
        fix = "write Arrow IPC files (the file format, not the stream), or use lockstep data pack"
        raise DataError(f"cannot read this as an Arrow IPC file: {error}", where=where, fix=fix) from error


def _footer(read: Read, size: int) -> bytes:
    if size < HEAD_BYTES + _TAIL_BYTES:
        raise ValueError("it is too short")
    tail = read(size - _TAIL_BYTES, _TAIL_BYTES)
    length = int.from_bytes(tail[:4], "little")
    if tail[4:] != MAGIC or length > size - HEAD_BYTES - _TAIL_BYTES:
        raise ValueError("it does not end as one")
    return read(size - _TAIL_BYTES - length, length)


def _value_nodes(schema: pa.Schema) -> dict[str, int]:
    """For each column whose values are counted, the number of the node that they have in a block's header."""
    nodes, number = {}, 0
    counted = counted_columns(schema)
    for field in schema:
        if field.name in counted:
            nodes[field.name] = number + 1
        number += _node_count(field.type)
    return nodes


def _node_count(kind: pa.DataType) -> int:
    return 1 + sum(_node_count(kind.field(child).type) for child in range(kind.num_fields))


def _block(
    read: Read, size: int, nodes: dict[str, int], offset: int, header_length: int, body_length: int
) -> Block:
    if not HEAD_BYTES <= offset <= offset + header_length + body_length <= size:
        raise ValueError("a block reaches beyond the end")
    message = Table.root(read(offset, header_length)[_PREFIX_BYTES:])
    header = message.table(_HEADER)
    lengths = [length for length, _ in header.structs(_NODES, _NODE)] if nodes else []
    if nodes and max(nodes.values()) >= len(lengths):
        raise ValueError("a block has other columns than the schema says")
    return Block(
        offset=offset,
        length=header_length + body_length,
        rows=header.int64(_LENGTH),
        values={name: lengths[number] for name, number in nodes.items()},
    )
