"""Small data sets for tests, written the way users write them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from workers.data.dataset import Dataset
from workers.data.shards import write_shards

NUMBERS = pa.schema([("number", pa.int64()), ("payload", pa.large_binary())])


def numbers(rows: int, first: int = 0) -> Iterator[Mapping[str, Any]]:
    """Samples that know their own number, of different lengths."""
    return ({"number": n, "payload": b"%d" % n * (n % 7)} for n in range(first, first + rows))


def number_records(start: int, count: int) -> pa.RecordBatch:
    """Some of `numbers`, in memory of their own, as a reader gives them."""
    wanted = list(numbers(start + count))[start:]
    return pa.RecordBatch.from_pylist(wanted, NUMBERS)


def number_set(
    folder: Path, rows: int, *, first: int = 0, block_bytes: int = 200, shard_bytes: int = 2000
) -> Dataset:
    """A packed data set of `numbers`, in many small blocks and several shards."""
    uri = folder.as_uri()
    write_shards(numbers(rows, first), NUMBERS, uri, block_bytes=block_bytes, shard_bytes=shard_bytes)
    return Dataset.open(uri)


def raw_files(folder: Path, contents: Iterable[bytes]) -> str:
    """A folder of files `00000.bin`, ...; its URI."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, content in enumerate(contents):
        (folder / f"{number:05d}.bin").write_bytes(content)
    return folder.as_uri()


def token_set(
    folder: Path, lengths: Iterable[int], *, first: int = 0, block_bytes: int = 300, shard_bytes: int = 2000
) -> Dataset:
    """A packed data set of documents: all tokens, laid end to end, are `first`, `first + 1`, ..."""
    schema = pa.schema([("tokens", pa.list_(pa.uint32())), ("name", pa.string())])

    def documents() -> Iterator[Mapping[str, Any]]:
        token = first
        for number, length in enumerate(lengths):
            yield {"tokens": list(range(token, token + length)), "name": f"document {number}"}
            token += length

    write_shards(documents(), schema, folder.as_uri(), block_bytes=block_bytes, shard_bytes=shard_bytes)
    return Dataset.open(folder.as_uri())
