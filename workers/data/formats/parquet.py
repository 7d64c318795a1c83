"""Parquet files: each row group is one block.

What a row group's bytes mean stands in the file's footer, so the manifest keeps the footers. See
https://parquet.apache.org/docs/file-format/. Row groups of many writers are large (128 MB and more); a block
is fetched and decoded whole, so `lockstep data pack` makes such sets faster to read.
"""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa
import pyarrow.parquet as pq

from workers.data.blocks import Block
from workers.data.formats.layout import Layout
from workers.data.manifest import BlockSpec, Manifest
from workers.data.ranged import RangedFile, Read, SeekableFile
from workers.errors import DataError

_TAIL_BYTES = 8  # the footer's length, and the magic


def scan(read: Read, size: int, *, where: str) -> Layout:
    """Find the row groups of a file from its footer.

    Args:
        read: reads a range of the file.
        size: of the file, bytes.
        where: the file's address, for messages.

    Raises:
        DataError: not a Parquet file, damaged, or encrypted.
    """
    try:
        file = pq.ParquetFile(RangedFile(read, size))
        found = file.metadata
        blocks = [_block(found.row_group(number)) for number in range(found.num_row_groups)]
        length = int.from_bytes(read(size - _TAIL_BYTES, 4), "little") + _TAIL_BYTES
        if any(block.offset + block.length > size - length for block in blocks):
            raise ValueError("a row group reaches beyond its end")
        return Layout(
            schema=_plain(file.schema_arrow),
            blocks=[block for block in blocks if block.rows],
            extra=read(size - length, length),  # the footer
        )
    except (ValueError, OSError) as error:  # pyarrow's errors are among these
        fix = "copy it again, or write it anew"
        raise DataError(f"cannot read this as a Parquet file: {error}", where=where, fix=fix) from error


def decode(manifest: Manifest, block: BlockSpec, data: pa.Buffer) -> pa.RecordBatch:
    """The row group's records."""
    footer, size = manifest.extra(block.number), manifest.object_size(block.number)
    file = pq.ParquetFile(_Parts({block.offset: memoryview(data), size - len(footer): footer}, size))
    groups = (_block(file.metadata.row_group(number)).offset for number in range(file.num_row_groups))
    table = file.read_row_group(list(groups).index(block.offset), use_threads=False).cast(manifest.schema)
    return table.combine_chunks().to_batches()[0]


def _block(group: pq.RowGroupMetaData) -> Block:
    columns = [group.column(number) for number in range(group.num_columns)]
    starts = [
        min(offset for offset in (column.dictionary_page_offset, column.data_page_offset) if offset)
        for column in columns
    ]
    ends = [start + c.total_compressed_size for start, c in zip(starts, columns, strict=True)]
    return Block(offset=min(starts), length=max(ends) - min(starts), rows=group.num_rows)


def _plain(schema: pa.Schema) -> pa.Schema:
    """Dictionary-encoded columns as what they encode: row groups have dictionaries of their own."""
    fields = [
        field.with_type(field.type.value_type) if pa.types.is_dictionary(field.type) else field
        for field in schema
    ]
    return pa.schema(fields)


class _Parts(SeekableFile):
    """A file of which only some parts are there, and zeros between them.

    Zeros are read with the footer, for whose length the library guesses, and not looked at.

    Args:
        parts: where each begins, and its bytes.
        size: of the whole file.
    """

    def __init__(self, parts: Mapping[int, memoryview | bytes], size: int) -> None:
        super().__init__(size)
        self._parts = parts

    def _range(self, begin: int, length: int) -> bytes:
        end = begin + length
        data = bytearray(length)
        for start, part in self._parts.items():
            first, last = max(begin, start), min(end, start + len(part))
            if first < last:
                data[first - begin : last - begin] = part[first - start : last - start]
        return bytes(data)
