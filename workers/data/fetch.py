"""Fetches one block and makes sure that it is what the manifest says."""

from __future__ import annotations

import random
import time

import google_crc32c
import pyarrow as pa

from workers.data.dataset import Dataset
from workers.data.manifest import BlockSpec
from workers.errors import DataError, UnreachableError
from workers.storage import Changed, NotFound

_ATTEMPTS = 4
_PAUSE_SECONDS = 0.05
#: Not the global generator: that one belongs to recipes, and what it gives must not depend on the network.
_CHANCE = random.SystemRandom()
_FIX = "restore the object, or index or pack the data set again: lockstep data verify lists all damage"


def fetch(dataset: Dataset, block: BlockSpec) -> pa.Buffer:
    """The checked bytes of a block. A mismatch is fetched a few times more: the wire may have been at fault.

    Raises:
        DataError: the object is missing, shorter than it should be, changed, or altered.
        AccessError, UnreachableError: from the store; also when it sends less than it says that it has.
    """
    if not block.length:
        return pa.py_buffer(b"")
    data = _read(dataset, block)
    for attempt in range(1, _ATTEMPTS):
        if matches(block, data):
            return data
        time.sleep(_CHANCE.uniform(0.5, 1.0) * _PAUSE_SECONDS * 2**attempt)
        data = _read(dataset, block)
    if data.size != block.length:
        what = f"{data.size} of {block.length} bytes"
        if dataset.store.head(block.object).size >= block.offset + block.length:
            raise UnreachableError(f"the store answers with {what}", where=dataset.address(block))
        raise _damaged(dataset, block, f"truncated: {what} are there")
    if not matches(block, data):
        raise _damaged(dataset, block, "altered: the checksum does not match")
    return data


def matches(block: BlockSpec, data: pa.Buffer) -> bool:
    """Whether these are a block's bytes, as far as the manifest can tell."""
    if data.size != block.length:
        return False
    return block.crc32c is None or google_crc32c.value(data) == block.crc32c


def _read(dataset: Dataset, block: BlockSpec) -> pa.Buffer:
    etag = None if block.crc32c is not None else block.etag
    try:
        return pa.py_buffer(dataset.store.get_range(block.object, block.offset, block.length, etag=etag))
    except NotFound as error:
        raise _damaged(dataset, block, "the object is missing") from error
    except Changed as error:
        raise _damaged(dataset, block, "the object has changed since it was indexed") from error
    except UnreachableError as error:
        # A range that begins beyond the end is refused in each store's own words.
        size = dataset.store.head(block.object).size
        if size >= block.offset + block.length:
            raise
        raise _damaged(dataset, block, f"truncated: the object ends at byte {size}") from error


def _damaged(dataset: Dataset, block: BlockSpec, what: str) -> DataError:
    return DataError(f"block {block.number} is damaged ({what})", where=dataset.address(block), fix=_FIX)
