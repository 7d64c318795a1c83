"""Makes objects that others wrote into a data set, in place: lists them and writes the manifest."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Literal, Protocol

import pyarrow as pa
from crc32c import crc32c

from workers.data.blocks import Block, BlockTable
from workers.data.dataset import HOME
from workers.data.formats import arrow, mds, parquet, raw, tar
from workers.data.formats.layout import Layout
from workers.data.manifest import FOLDER, Format, Manifest
from workers.data.parallel import at_once
from workers.data.ranged import Read
from workers.errors import DataError
from workers.storage import NotFound, ObjectInfo, Store

Choice = Literal["auto", "arrow", "parquet", "tar", "mds", "raw"]
#: Formats that an object's name tells.
_SUFFIXES: dict[Format, str] = {"arrow": ".arrow", "parquet": ".parquet", "tar": ".tar", "mds": ".mds"}


class Scan(Protocol):
    """Finds an object's blocks by reading little of it."""

    def __call__(self, read: Read, size: int, *, where: str) -> Layout:
        """See, for one, `workers.data.formats.tar.scan`."""


_SCANS: dict[Format, Scan] = {"arrow": arrow.scan, "parquet": parquet.scan, "tar": tar.scan}


def index(uri: str, *, format: Choice = "auto", checksums: bool = False, to: str | None = None) -> Manifest:
    """Survey the objects below `uri` and write their manifest, over an earlier one. See `survey`.

    Args:
        to: where to write it, if not beside the objects: they may be in a place that cannot be written to.
            That is then the data set's URI.

    Raises:
        DataError: `to` has objects of its own.
    """
    manifest = survey(uri, format=format, checksums=checksums)
    if to is None:
        manifest.save(Store(uri), replace=True)
        return manifest
    store = Store(to)
    if sample_objects(store):
        raise DataError("there are other objects here", where=to, fix="name an empty place for the manifest")
    store.put(HOME, Store(uri).uri.encode())
    manifest.save(store, replace=True)
    return manifest


def survey(uri: str, *, format: Choice = "auto", checksums: bool = False) -> Manifest:
    """What the objects below `uri` are as a data set. Only their headers are read.

    Args:
        uri: `file:///folder` or `s3://bucket/prefix`.
        format: "raw" takes every object as one sample; "arrow" takes the `.arrow` files (Arrow IPC) as
            shards, "parquet" the `.parquet` files, "tar" the `.tar` files (WebDataset), "mds" the files that
            `index.json` names (MosaicML); "auto" takes whichever the objects are, and refuses a mixture.
        checksums: read all bytes and pin them by crc32c. Else objects are pinned by their entity tags,
            and an altered object is noticed only if the store notices.

    Raises:
        DataError: nothing to index, a mixture, or a shard that cannot be read.
        AccessError, UnreachableError: from the store.
    """
    store = Store(uri)
    objects = sample_objects(store)
    if not objects:
        raise DataError("there are no objects here", where=uri, fix="check the address")
    chosen = _format(uri, objects, format)
    if chosen == "raw":
        return _index_raw(store, objects, checksums)
    shards = [info for info in objects if info.name.endswith(_SUFFIXES[chosen])]
    return _index_shards(chosen, store, shards, checksums)


def sample_objects(store: Store) -> list[ObjectInfo]:
    """The objects of a prefix that hold samples: all but our own."""
    return [info for info in store.list() if not info.name.startswith(f"{FOLDER}/")]


def _format(uri: str, objects: list[ObjectInfo], choice: Choice) -> Format:
    if choice != "auto":
        return choice
    counts = {kind: sum(info.name.endswith(end) for info in objects) for kind, end in _SUFFIXES.items()}
    kind = max(counts, key=lambda kind: counts[kind])
    others = sum(info.name != mds.INDEX for info in objects) - counts[kind]
    if counts[kind] and others:
        what = f"{counts[kind]} {_SUFFIXES[kind]} objects and {others} others are mixed here"
        which = f"--format {kind} takes the former alone, --format raw takes all as samples"
        raise DataError(what, where=uri, fix=f"say which are meant: {which}")
    return kind if counts[kind] else "raw"


def _index_raw(store: Store, objects: list[ObjectInfo], checksums: bool) -> Manifest:
    whole = [(info, Block(offset=0, length=info.size, rows=1)) for info in objects]
    table = BlockTable()
    if checksums:
        whole = list(at_once(partial(_with_checksum, store), whole))
    for info, block in whole:
        table.add(name=info.name, size=info.size, etag=info.etag, blocks=[block])
    return table.manifest("raw", raw.SCHEMA)


def _index_shards(kind: Format, store: Store, objects: list[ObjectInfo], checksums: bool) -> Manifest:
    table = BlockTable()
    schemas: list[pa.Schema] = []
    scan = _mds_scan(store, objects) if kind == "mds" else _SCANS[kind]

    def scanned(info: ObjectInfo) -> tuple[ObjectInfo, Layout]:
        def read(offset: int, length: int) -> bytes:
            return bytes(store.get_range(info.name, offset, length)) if length else b""

        return info, scan(read, info.size, where=store.url(info.name))

    for info, layout in at_once(scanned, objects):
        if kind != "tar" and schemas and not layout.schema.equals(schemas[0]):
            fix = "bring all shards to the same columns and types"
            raise DataError("its columns differ from the first shard's", where=store.url(info.name), fix=fix)
        schemas.append(layout.schema)
        blocks = layout.blocks
        if checksums:
            pairs = [(info, block) for block in blocks]
            blocks = [block for _, block in at_once(partial(_with_checksum, store), pairs)]
        table.add(name=info.name, size=info.size, etag=info.etag, blocks=blocks, extra=layout.extra)
    if not table.rows:
        fix = "write some; in tar files, name them KEY.EXTENSION"
        raise DataError("its shards hold no samples", where=store.uri, fix=fix)
    return table.manifest(kind, tar.unite(schemas) if kind == "tar" else schemas[0])


def _mds_scan(store: Store, objects: list[ObjectInfo]) -> Scan:
    """The scan of MDS shards, which only their index describes."""
    where = store.url(mds.INDEX)
    try:
        found = mds.read_index(store.get(mds.INDEX), where=where)
    except NotFound:
        fix = "name the folder that holds index.json; merge those of subfolders with streaming's merge_index"
        raise DataError("there are MDS shards here, and no index.json", where=store.uri, fix=fix) from None
    sizes = {info.name: info.size for info in objects}
    shards = {store.url(shard.name): shard for shard in found.shards}
    for shard in found.shards:
        size = sizes.pop(shard.name, None)
        if size != shard.size:
            is_so = "is missing" if size is None else f"has {size} bytes instead of {shard.size}"
            raise DataError(f"{shard.name} {is_so}", where=where, fix="copy the data set again")
    if sizes:
        fix = "remove it, or write the index anew"
        raise DataError(f"{min(sizes)} is not in the index", where=where, fix=fix)
    return lambda read, size, *, where: mds.scan(read, shards[where], found.schema, where=where)


def _with_checksum(store: Store, item: tuple[ObjectInfo, Block]) -> tuple[ObjectInfo, Block]:
    info, block = item
    data = store.get_range(info.name, block.offset, block.length) if block.length else b""
    return info, replace(block, crc32c=crc32c(pa.py_buffer(data)))
