"""Makes objects that others wrote into a data set, in place: lists them and writes the manifest."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Literal

import google_crc32c
import pyarrow as pa

from workers.data.blocks import Block, BlockTable
from workers.data.formats import arrow, mds, raw, tar
from workers.data.manifest import FOLDER, Format, Manifest
from workers.data.parallel import at_once
from workers.data.ranged import Read
from workers.errors import DataError
from workers.storage import NotFound, ObjectInfo, Store

Choice = Literal["auto", "arrow", "tar", "mds", "raw"]
#: Formats that an object's name tells.
_SUFFIXES: dict[Format, str] = {"arrow": ".arrow", "tar": ".tar", "mds": ".mds"}


def index(uri: str, *, format: Choice = "auto", checksums: bool = False) -> Manifest:
    """Index the objects below `uri` and write their manifest there, over an earlier one.

    Args:
        uri: `file:///folder` or `s3://bucket/prefix`.
        format: "raw" takes every object as one sample; "arrow" takes the `.arrow` files (Arrow IPC) as
            shards, "tar" the `.tar` files (WebDataset), "mds" what its `index.json` names (MosaicML); "auto"
            takes whichever the objects are, and refuses a mixture.
        checksums: read all bytes and pin them by crc32c. Else objects are pinned by their entity tags,
            and an altered object is noticed only if the store notices.

    Raises:
        DataError: nothing to index, a mixture, or a shard that cannot be read.
        AccessError, UnreachableError: from the store.
    """
    store = Store(uri)
    objects = sample_objects(store)
    if not objects:
        raise DataError("there is nothing here to index", where=uri, fix="check the address")
    chosen = _format(uri, objects, format)
    if chosen in _SUFFIXES:
        objects = [info for info in objects if info.name.endswith(_SUFFIXES[chosen])]
    manifest = _INDEXERS[chosen](store, objects, checksums)
    manifest.save(store, replace=True)
    return manifest


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


def _index_shards(store: Store, shards: list[ObjectInfo], checksums: bool) -> Manifest:
    table = BlockTable()
    schema: pa.Schema | None = None
    for info, layout in at_once(partial(_scan, store), shards):
        if schema is not None and not layout.schema.equals(schema):
            fix = "bring all shards to the same columns and types"
            raise DataError("its columns differ from the first shard's", where=store.url(info.name), fix=fix)
        schema = layout.schema
        blocks = _with_checksums(store, info, layout.blocks) if checksums else layout.blocks
        table.add(name=info.name, size=info.size, etag=info.etag, blocks=blocks)
    if not table.rows:
        raise DataError("its shards hold no samples", where=store.uri, fix="write some")
    return table.manifest("arrow", schema)


def _index_tars(store: Store, tars: list[ObjectInfo], checksums: bool) -> Manifest:
    table = BlockTable()
    columns: set[str] = set()
    for info, layout in at_once(partial(_scan_tar, store), tars):
        columns |= layout.columns
        blocks = _with_checksums(store, info, layout.blocks) if checksums else layout.blocks
        table.add(name=info.name, size=info.size, etag=info.etag, blocks=blocks)
    if not table.rows:
        fix = "name files as WebDataset does: KEY.EXTENSION"
        raise DataError("the tar files here hold no samples", where=store.uri, fix=fix)
    return table.manifest("tar", tar.schema(columns))


def _index_mds(store: Store, objects: list[ObjectInfo], checksums: bool) -> Manifest:
    where = store.url(mds.INDEX)
    try:
        found = mds.read_index(store.get(mds.INDEX), where=where)
    except NotFound:
        fix = "name the folder that holds index.json; merge those of subfolders with streaming's merge_index"
        raise DataError("there are MDS shards here, and no index.json", where=store.uri, fix=fix) from None
    there = {info.name: info for info in objects}
    for shard in found.shards:
        info = there.get(shard.name)
        if info is None or info.size != shard.size:
            is_so = "is missing" if info is None else f"has {info.size} bytes instead of {shard.size}"
            raise DataError(f"{shard.name} {is_so}", where=where, fix="copy the data set again")

    def scanned(shard: mds.Shard) -> tuple[ObjectInfo, list[Block]]:
        info = there[shard.name]
        return info, mds.scan(_reader(store, info), shard, where=store.url(info.name))

    table = BlockTable()
    for info, blocks in at_once(scanned, found.shards):
        pinned = _with_checksums(store, info, blocks) if checksums else blocks
        table.add(name=info.name, size=info.size, etag=info.etag, blocks=pinned)
    return table.manifest("mds", found.schema)


def _scan(store: Store, info: ObjectInfo) -> tuple[ObjectInfo, arrow.Layout]:
    return info, arrow.scan(_reader(store, info), info.size, where=store.url(info.name))


def _scan_tar(store: Store, info: ObjectInfo) -> tuple[ObjectInfo, tar.Layout]:
    return info, tar.scan(_reader(store, info), info.size, where=store.url(info.name))


def _reader(store: Store, info: ObjectInfo) -> Read:
    return lambda offset, length: bytes(store.get_range(info.name, offset, length)) if length else b""


def _with_checksums(store: Store, info: ObjectInfo, blocks: list[Block]) -> list[Block]:
    pairs = [(info, block) for block in blocks]
    return [block for _, block in at_once(partial(_with_checksum, store), pairs)]


def _with_checksum(store: Store, item: tuple[ObjectInfo, Block]) -> tuple[ObjectInfo, Block]:
    info, block = item
    data = store.get_range(info.name, block.offset, block.length) if block.length else b""
    return info, replace(block, crc32c=google_crc32c.value(pa.py_buffer(data)))


_INDEXERS = {"arrow": _index_shards, "tar": _index_tars, "mds": _index_mds, "raw": _index_raw}
