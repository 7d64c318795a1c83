"""Makes objects that others wrote into a data set, in place: lists them and writes the manifest."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Literal

import google_crc32c
import pyarrow as pa

from workers.data.blocks import Block, BlockTable
from workers.data.formats import arrow, raw
from workers.data.manifest import FOLDER, Format, Manifest
from workers.data.parallel import at_once
from workers.errors import DataError
from workers.storage import ObjectInfo, Store

Choice = Literal["auto", "arrow", "raw"]


def index(uri: str, *, format: Choice = "auto", checksums: bool = False) -> Manifest:
    """Index the objects below `uri` and write their manifest there, over an earlier one.

    Args:
        uri: `file:///folder` or `s3://bucket/prefix`.
        format: "raw" takes every object as one sample; "arrow" takes the `.arrow` files (Arrow IPC) as
            shards; "auto" takes whichever the objects are, and refuses a mixture.
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
    if _format(uri, objects, format) == "arrow":
        shards = [info for info in objects if info.name.endswith(".arrow")]
        manifest = _index_shards(store, shards, checksums)
    else:
        manifest = _index_raw(store, objects, checksums)
    manifest.save(store, replace=True)
    return manifest


def sample_objects(store: Store) -> list[ObjectInfo]:
    """The objects of a prefix that hold samples: all but our own."""
    return [info for info in store.list() if not info.name.startswith(f"{FOLDER}/")]


def _format(uri: str, objects: list[ObjectInfo], choice: Choice) -> Format:
    if choice != "auto":
        return choice
    shards = sum(info.name.endswith(".arrow") for info in objects)
    if 0 < shards < len(objects):
        what = f"{shards} .arrow objects and {len(objects) - shards} others are mixed here"
        fix = "say which are meant: --format arrow takes the former alone, --format raw takes all as samples"
        raise DataError(what, where=uri, fix=fix)
    return "arrow" if shards else "raw"


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
        blocks = layout.blocks
        if checksums:
            pairs = [(info, block) for block in blocks]
            blocks = [block for _, block in at_once(partial(_with_checksum, store), pairs)]
        table.add(name=info.name, size=info.size, etag=info.etag, blocks=blocks)
    if not table.rows:
        raise DataError("its shards hold no samples", where=store.uri, fix="write some")
    return table.manifest("arrow", schema)


def _scan(store: Store, info: ObjectInfo) -> tuple[ObjectInfo, arrow.Layout]:
    def read(offset: int, length: int) -> bytes:
        return bytes(store.get_range(info.name, offset, length)) if length else b""

    return info, arrow.scan(read, info.size, where=store.url(info.name))


def _with_checksum(store: Store, item: tuple[ObjectInfo, Block]) -> tuple[ObjectInfo, Block]:
    info, block = item
    data = store.get_range(info.name, block.offset, block.length) if block.length else b""
    return info, replace(block, crc32c=google_crc32c.value(pa.py_buffer(data)))
