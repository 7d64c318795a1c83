"""Tar files in the manner of WebDataset: files that share a key, one after another, are one sample.

`photos/0001.jpg` and `photos/0001.cls` are the columns `jpg` and `cls` of the sample `photos/0001`: a name is
cut at the first dot of its last part. See https://github.com/webdataset/webdataset (the format), POSIX.1-1988
(ustar) and POSIX.1-2001 (pax). A block is a run of whole samples, headers included, so it can be read alone.
"""

from __future__ import annotations

import io
import re
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import pyarrow as pa

from workers.data.blocks import Block
from workers.data.formats.layout import Layout
from workers.data.manifest import BlockSpec, Manifest
from workers.data.ranged import RangedFile, Read
from workers.errors import DataError

KEY = "__key__"
BLOCK_BYTES = 4 << 20
_RECORD = 512  # bytes: headers and bodies begin at multiples of it
_NAME = re.compile(r"((?:.*/|)[^./][^./]*)\.([^/]+)")
_PLAIN = (b"0", b"\0")  # type flags of regular files
_USTAR = b"ustar\0"


@dataclass(frozen=True, kw_only=True)
class _Entry:
    """One file in a tar: where its headers begin, and where its body, padded, ends."""

    name: str
    start: int
    end: int


def unite(schemas: Iterable[pa.Schema]) -> pa.Schema:
    """The columns of samples of several tar files: all that any of them has."""
    return _schema({name for schema in schemas for name in schema.names} - {KEY})


def scan(read: Read, size: int, *, where: str, block_bytes: int = BLOCK_BYTES) -> Layout:
    """Find the samples of a tar file from its headers.

    Args:
        read: reads a range of the file.
        size: of the file, bytes.
        where: the file's address, for messages.
        block_bytes: of a block, at most, unless one sample is larger.

    Raises:
        DataError: not a tar file, cut short, compressed, or two samples have one key.
    """
    columns: set[str] = set()
    blocks: list[Block] = []
    start = end = rows = 0
    for entries in _samples(_entries(read, size, where), where):
        first, last = entries[0].start, entries[-1].end
        columns |= {parts[1] for entry in entries if (parts := _split(entry.name)) is not None}
        if rows and last - start > block_bytes:
            blocks.append(Block(offset=start, length=end - start, rows=rows))
            rows = 0
        if not rows:
            start = first
        end, rows = last, rows + 1
    if rows:
        blocks.append(Block(offset=start, length=end - start, rows=rows))
    return Layout(schema=_schema(columns), blocks=blocks)


def decode(manifest: Manifest, block: BlockSpec, data: pa.Buffer) -> pa.RecordBatch:
    """`{"__key__": the key, "jpg": bytes, ...}`; null where a sample has no such file."""
    rows: list[dict[str, object]] = []
    for name, body in _bodies(memoryview(data)):
        if (parts := _split(name)) is None:
            continue
        key, column = parts
        if not rows or rows[-1][KEY] != key:
            rows.append({KEY: key})
        rows[-1][column] = body
    arrays = [pa.array([row.get(f.name) for row in rows], f.type) for f in manifest.schema]
    return pa.record_batch(arrays, schema=manifest.schema)


def _schema(columns: Iterable[str]) -> pa.Schema:
    """The key, then the columns by name; a sample may lack some."""
    fields = [pa.field(name, pa.large_binary()) for name in sorted(columns)]
    return pa.schema([pa.field(KEY, pa.string(), nullable=False), *fields])


def _split(name: str) -> tuple[str, str] | None:
    """Key and column of a file; None for one that belongs to no sample."""
    found = _NAME.fullmatch(name.removeprefix("./"))
    return (found[1], found[2].lower()) if found else None


def _samples(entries: Iterable[_Entry], where: str) -> Iterator[list[_Entry]]:
    """Runs of files that share a key."""
    seen: set[str] = set()
    run: list[_Entry] = []
    columns: set[str] = set()
    current = ""
    for entry in entries:
        if (parts := _split(entry.name)) is None:
            continue
        key, column = parts
        if run and key != current:
            yield run
            run, columns = [], set()
        if not run:
            if key in seen:
                fix = "write all files of a sample one after another, and every sample under a key of its own"
                raise DataError(f"two samples have the key {key}", where=where, fix=fix)
            seen.add(key)
            current = key
        if column in columns or column == KEY:
            raise DataError(f"the file {entry.name} is there twice", where=where, fix="write it once")
        columns.add(column)
        run.append(entry)
    if run:
        yield run


def _entries(read: Read, size: int, where: str) -> Iterator[_Entry]:
    """All regular files of a tar, in order."""
    try:
        with tarfile.open(fileobj=RangedFile(read, size), mode="r:") as archive:
            while (member := archive.next()) is not None:
                archive.members.clear()  # type: ignore[attr-defined]  # it would keep them all
                if not member.isreg():
                    continue
                end = member.offset_data + -(-member.size // _RECORD) * _RECORD
                if end > size:
                    raise _cut_short(where, f"{member.name} reaches beyond its end")
                if member.issparse():
                    raise DataError(f"{member.name} is stored sparsely", where=where, fix="write it whole")
                _check_name(member.name, where)
                yield _Entry(name=member.name, start=member.offset, end=end)
            end_mark = read(archive.offset, _RECORD) if archive.offset + _RECORD <= size else b""
    except tarfile.TarError as error:
        fix = "unpack it if it is compressed: ranges of a compressed file cannot be read"
        raise DataError(f"cannot read this as a tar file: {error}", where=where, fix=fix) from error
    if end_mark != bytes(_RECORD):  # the library takes whatever it cannot read for the end
        raise _cut_short(where, f"there is neither a file nor an end mark at byte {archive.offset}")


def _cut_short(where: str, what: str) -> DataError:
    fix = "copy it again: it was cut short or altered"
    return DataError(f"the tar file is not whole: {what}", where=where, fix=fix)


def _check_name(name: str, where: str) -> None:
    try:
        name.encode()
    except UnicodeEncodeError:
        shown = ascii(name)
        raise DataError(f"the name {shown} is not UTF-8", where=where, fix="rename the file") from None


def _bodies(data: memoryview) -> Iterator[tuple[str, memoryview]]:
    """Name and body of each regular file in a block."""
    position = 0
    while position < len(data):
        header = data[position : position + _RECORD]
        if not _is_plain(header):
            yield from _bodies_with_extensions(data[position:])
            return
        size = int(bytes(header[124:136]).rstrip(b"\0 ") or b"0", 8)
        position += _RECORD
        yield _plain_name(header), data[position : position + size]
        position += -(-size // _RECORD) * _RECORD


def _is_plain(header: memoryview) -> bool:
    """Whether all there is to know of a file stands in this one header."""
    return bytes(header[156:157]) in _PLAIN and not header[124] & 0x80


def _plain_name(header: memoryview) -> str:
    name = bytes(header[:100]).split(b"\0", 1)[0]
    if bytes(header[257:263]) == _USTAR:
        prefix = bytes(header[345:500]).split(b"\0", 1)[0]
        name = prefix + b"/" + name if prefix else name
    return name.decode()


def _bodies_with_extensions(data: memoryview) -> Iterator[tuple[str, memoryview]]:
    """The same for long names, links, folders and whatever else a tar may hold: slower."""
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
        for member in archive:
            if member.isreg():
                yield member.name, data[member.offset_data : member.offset_data + member.size]
