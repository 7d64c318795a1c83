"""Fetches one block and makes sure that it is what the manifest says."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass

import pyarrow as pa
from crc32c import crc32c

from workers.data.dataset import Dataset
from workers.data.manifest import BlockSpec
from workers.errors import DataError, UnreachableError
from workers.mapping import MappedFile
from workers.storage import Changed, NotFound

#: After so many wrong answers it is not the wire that is at fault.
_ATTEMPTS = 4
#: A store that is gone for half a minute costs half a minute. Its client has retries of its own, but not for
#: every way in which a connection can break.
_PATIENCE_SECONDS = 60.0
_PAUSE_SECONDS, _PAUSE_SECONDS_MAX = 0.05, 3.0
#: Not the global generator: that one belongs to recipes, and what it gives must not depend on the network.
_CHANCE = random.SystemRandom()
_MAPPED_BYTES_MIN = 64 << 10  # reading less costs less
_FIX = "restore the object, or index or pack the data set again: lockstep data verify lists all damage"


@dataclass(frozen=True, kw_only=True)
class Fetched:
    """The bytes of a block.

    Attributes:
        mapped: they are those of a file: no memory of this process, and shared with others that read it.
        file: that file, if it is not ours alone, so that somebody may change it.
    """

    data: pa.Buffer
    mapped: bool = False
    file: MappedFile | None = None


def fetch(dataset: Dataset, block: BlockSpec) -> Fetched:
    """The checked bytes of a block, asked for again and again while the store has trouble, for a minute.

    A mismatch is fetched a few times more, too: the wire may have been at fault.

    Raises:
        DataError: the object is missing, shorter than it should be, changed, or altered.
        AccessError, UnreachableError: from the store; also when it keeps sending less than it has.
    """
    if not block.length:
        return Fetched(data=pa.py_buffer(b""))
    until = time.monotonic() + _PATIENCE_SECONDS
    attempt = 0
    while True:
        attempt += 1
        try:
            fetched = _read(dataset, block)
            if matches(block, fetched.data):
                return fetched
            if attempt >= _ATTEMPTS:
                raise _wrong(dataset, block, fetched.data)
        except UnreachableError:
            if time.monotonic() > until:
                raise
        pause = min(_PAUSE_SECONDS * 2**attempt, _PAUSE_SECONDS_MAX)
        time.sleep(_CHANCE.uniform(0.5, 1.0) * pause)


def _wrong(dataset: Dataset, block: BlockSpec, data: pa.Buffer) -> DataError | UnreachableError:
    """What is the matter with these bytes: the object, or the store."""
    if data.size == block.length:
        return _damaged(dataset, block, "altered: the checksum does not match")
    there = f"{data.size} of {block.length} bytes"
    if dataset.store.head(block.object).size < block.offset + block.length:
        return _damaged(dataset, block, f"truncated: {there} are there")
    return UnreachableError(f"the store answers with {there}", where=dataset.address(block))


def matches(block: BlockSpec, data: pa.Buffer) -> bool:
    """Whether these are a block's bytes, as far as the manifest can tell."""
    if data.size != block.length:
        return False
    return block.crc32c is None or crc32c(data) == block.crc32c


def _read(dataset: Dataset, block: BlockSpec) -> Fetched:
    etag = None if block.crc32c is not None else block.etag
    try:
        mapped = _mapped(dataset, block) if etag is None else None
        if mapped is not None:
            return mapped
        data = dataset.store.get_range(block.object, block.offset, block.length, etag=etag)
        return Fetched(data=pa.py_buffer(data))
    except NotFound as error:
        raise _damaged(dataset, block, "the object is missing") from error
    except Changed as error:
        raise _damaged(dataset, block, "the object has changed since it was indexed") from error
    except UnreachableError as error:
        # A range that begins beyond the end is refused in each store's own words.
        try:
            size = dataset.store.head(block.object).size
        except UnreachableError:
            raise error from None
        if size >= block.offset + block.length:
            raise
        raise _damaged(dataset, block, f"truncated: the object ends at byte {size}") from error


def _mapped(dataset: Dataset, block: BlockSpec) -> Fetched | None:
    """A part of a local file, if all of it is there. What holds one sample is wanted once."""
    if block.length < _MAPPED_BYTES_MIN or block.rows == 1:
        return None
    file = dataset.store.map(block.object)
    if file is None or file.data.size < block.offset + block.length:
        return None
    try:
        return Fetched(data=file.range(block.offset, block.length), mapped=True, file=file)
    except OSError:  # whoever reads it plainly is told why
        return None


def _damaged(dataset: Dataset, block: BlockSpec, what: str) -> DataError:
    return DataError(f"block {block.number} is damaged ({what})", where=dataset.address(block), fix=_FIX)
