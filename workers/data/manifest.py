"""The manifest: a small immutable table of a data set's blocks, stored beside the data.

A block is a run of samples that one ranged GET reads. What its bytes must be is pinned in one of two ways:
by their crc32c where they were seen when the manifest was made, else by the object's entity tag. An object
whose blocks all have checksums carries no entity tag, so that a data set keeps its digest when it is copied
to another store.

On storage it is an Arrow IPC file with one row a block. What belongs to an object (name, etag, size) is
dictionary-encoded with the object's number as the common index.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from workers.data.order import edges
from workers.data.permutation import Int64
from workers.errors import DataError
from workers.storage import AlreadyExists, NotFound, Store

Format = Literal["arrow", "raw", "tar", "mds", "parquet"]

FOLDER = "_lockstep"
NAME = f"{FOLDER}/manifest.arrow"
VERSIONS = f"{FOLDER}/versions"  # manifests that were replaced, by digest: jobs that pinned them go on
_VALUES = "values."  # before the name of a column, in the table
UNSEEN = -1  # a checksum that is not known, because the bytes were not read
_VERSION = b"1"
_Bytes = bytes  # inside `Manifest`, the name means the size of the data set


@dataclass(frozen=True, kw_only=True)
class BlockSpec:
    """Where one block is, and what it must be."""

    number: int
    object: str  # name relative to the data set's URI
    offset: int  # bytes
    length: int  # bytes
    rows: int
    crc32c: int | None  # None: not known; `etag` pins the object instead
    etag: str | None


@dataclass(frozen=True, kw_only=True, eq=False)
class Manifest:
    """What a data set is. Arrays have one element a block unless they begin with `object_`.

    Args:
        format: how a block's bytes become records.
        schema: the columns of a sample.
        object_names: relative to the data set's URI; string.
        object_etags: null where checksums pin the object; string.
        object_sizes: bytes; int64.
        object_extras: what else a format needs to read an object; large_binary. None for most formats.
        values: of columns of lists of integers, how many values they hold in a block; int64. Not every format
            tells.
        objects: each block's object; int32, ascending.
        offsets: in the object, bytes; int64.
        lengths: bytes; int64.
        block_rows: samples; int64.
        crc32c: checksums as unsigned 32-bit numbers, or `UNSEEN`; int64.
    """

    format: Format
    schema: pa.Schema
    object_names: pa.StringArray
    object_etags: pa.StringArray
    object_sizes: Int64
    objects: npt.NDArray[np.int32]
    offsets: Int64
    lengths: Int64
    block_rows: Int64
    crc32c: Int64
    object_extras: pa.LargeBinaryArray | None = None
    values: Mapping[str, Int64] = field(default_factory=dict)

    def __len__(self) -> int:
        """Blocks."""
        return len(self.block_rows)

    @cached_property
    def rows(self) -> int:
        """Samples in the data set."""
        return int(self.block_rows.sum())

    @cached_property
    def bytes(self) -> int:
        """Stored bytes of all blocks."""
        return int(self.lengths.sum())

    @cached_property
    def edges(self) -> Int64:
        """Sample ids where blocks begin, then the number of samples; int64, one more than blocks."""
        return edges(self.block_rows)

    @property
    def first_row(self) -> Int64:
        """The sample id of each block's row 0: row r of block b is sample `first_row[b] + r`."""
        return self.edges[:-1]

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the stored manifest, in hex: the identity of the data set."""
        return sha256(self.to_bytes()).hexdigest()

    @property
    def single_rows(self) -> bool:
        """Whether every block holds one sample, so that no order of reading saves reads."""
        return bool((self.block_rows == 1).all())

    def block(self, number: int) -> BlockSpec:
        """One block of the table."""
        number = int(number)
        index = int(self.objects[number])
        crc32c = int(self.crc32c[number])
        return BlockSpec(
            number=number,
            object=self.object_names[index].as_py(),
            offset=int(self.offsets[number]),
            length=int(self.lengths[number]),
            rows=int(self.block_rows[number]),
            crc32c=None if crc32c == UNSEEN else crc32c,
            etag=self.object_etags[index].as_py(),
        )

    def object_size(self, number: int) -> int:
        """Bytes of the object that a block is in."""
        return int(self.object_sizes[self.objects[number]])

    def extra(self, number: int) -> _Bytes:
        """What a format needs to read the object that a block is in."""
        if self.object_extras is None:
            raise ValueError(f"the format {self.format} keeps nothing of its objects")
        return bytes(self.object_extras[int(self.objects[number])].as_py())

    def first_of_object(self, block_rows: Int64) -> Int64:
        """The number of each block's first row within its object, for so many rows in each block."""
        line = edges(block_rows)[:-1]
        return line - line[np.searchsorted(self.objects, self.objects)]

    def to_bytes(self) -> _Bytes:
        """The stored form; equal manifests give equal bytes."""

        def of_object(values: pa.Array) -> pa.DictionaryArray:
            return pa.DictionaryArray.from_arrays(pa.array(self.objects, pa.int32()), values)

        checksums = pa.array(self.crc32c, pa.uint32(), mask=self.crc32c == UNSEEN, safe=False)
        columns = {
            "object": of_object(self.object_names),
            "etag": of_object(self.object_etags),
            "size": of_object(pa.array(self.object_sizes, pa.int64())),
            "offset": pa.array(self.offsets, pa.int64()),
            "length": pa.array(self.lengths, pa.int64()),
            "rows": pa.array(self.block_rows, pa.int64()),
            "crc32c": checksums,
        }
        if self.object_extras is not None:
            columns["extra"] = of_object(self.object_extras)
        columns |= {
            f"{_VALUES}{name}": pa.array(self.values[name], pa.int64()) for name in sorted(self.values)
        }
        header = {
            "lockstep.version": _VERSION,
            "lockstep.format": self.format.encode(),
            "lockstep.schema": self.schema.serialize().to_pybytes(),
        }
        batch = pa.record_batch(columns).replace_schema_metadata(header)
        sink = pa.BufferOutputStream()
        with pa.ipc.new_file(sink, batch.schema) as writer:
            writer.write_batch(batch)
        return bytes(sink.getvalue().to_pybytes())

    @classmethod
    def from_bytes(cls, data: _Bytes, *, where: str = "manifest") -> Manifest:
        """The manifest whose stored form is `data`. Its digest is that of `data`.

        Raises:
            DataError: these are not the bytes of a manifest that this version reads.
        """
        try:
            manifest = _parse(pa.ipc.open_file(pa.py_buffer(data)))
        except (pa.ArrowInvalid, KeyError, OSError, IndexError) as error:
            fix = "write it again: lockstep data pack, or lockstep data index"
            raise DataError(f"not a data set manifest: {error}", where=where, fix=fix) from error
        manifest.__dict__["digest"] = sha256(data).hexdigest()  # primes the cached property
        return manifest

    @classmethod
    def load(cls, store: Store) -> Manifest:
        """Read the manifest beside the data.

        Raises:
            NotFound: there is none.
            DataError: it is damaged or of another version.
        """
        return cls.from_bytes(store.get(NAME), where=store.url(NAME))

    def save(self, store: Store, *, replace: bool = False) -> None:
        """Write the manifest beside the data: from now on this is a data set.

        One that it replaces is kept under `VERSIONS`.

        Raises:
            DataError: there is a manifest already, and `replace` is not set.
        """
        if replace:
            _keep_other(store, self.digest)
            store.put(NAME, self.to_bytes())
            return
        try:
            store.create(NAME, self.to_bytes())
        except AlreadyExists as error:
            raise exists_already(store) from error


def earlier_versions(store: Store) -> dict[str, str]:
    """The objects that hold manifests which were replaced, by digest."""
    names = [info.name for info in store.list(VERSIONS)]
    return {name.removeprefix(f"{VERSIONS}/").removesuffix(".arrow"): name for name in names}


def _keep_other(store: Store, digest: str) -> None:
    """Keep the manifest that is about to be replaced, if there is one with another digest."""
    try:
        data = store.get(NAME)
    except NotFound:
        return
    found = sha256(data).hexdigest()
    if found != digest:
        store.put(f"{VERSIONS}/{found}.arrow", data)


def exists_already(store: Store) -> DataError:
    """There is a data set where one was to be written."""
    return DataError(
        "there is a data set already",
        where=store.uri,
        fix="name another place, or overwrite it (--overwrite)",
    )


def _parse(reader: Any) -> Manifest:
    header = reader.schema.metadata or {}
    if header[b"lockstep.version"] != _VERSION:
        raise KeyError(f"version {header[b'lockstep.version']!r} is not {_VERSION!r}")
    kind = header[b"lockstep.format"].decode()
    if kind not in get_args(Format):
        raise KeyError(f"unknown format {kind!r}")
    batch = reader.get_batch(0)

    def numbers(name: str) -> Any:
        return batch[name].to_numpy(zero_copy_only=False)

    return Manifest(
        format=kind,
        schema=pa.ipc.read_schema(pa.py_buffer(header[b"lockstep.schema"])),
        object_names=batch["object"].dictionary,
        object_etags=batch["etag"].dictionary,
        object_sizes=batch["size"].dictionary.to_numpy(),
        objects=batch["object"].indices.to_numpy(),
        offsets=numbers("offset"),
        lengths=numbers("length"),
        block_rows=numbers("rows"),
        crc32c=batch["crc32c"].cast(pa.int64()).fill_null(UNSEEN).to_numpy(),
        object_extras=batch["extra"].dictionary if "extra" in batch.schema.names else None,
        values={
            name.removeprefix(_VALUES): numbers(name)
            for name in batch.schema.names
            if name.startswith(_VALUES)
        },
    )
