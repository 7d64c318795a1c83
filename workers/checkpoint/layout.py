"""How a state is cut into chunks, and who writes which. Pure.

The cuts depend on the state alone, never on the number of workers, so that any number of workers writes
the same objects.

How large is a chunk? Small enough that a state is shared out evenly (`_SHARES` chunks: with 64 workers each
has two or so, and the fullest is never far above the mean), but not below `_CHUNK_BYTES_MIN`, where the fixed
cost of an object (a request, two fsyncs) outweighs the gain of sharing, nor above `_CHUNK_BYTES_MAX`, which
bounds the memory that reading and writing need. So up to 4 MiB are one chunk, 64 MiB are 16 of 4 MiB,
1.2 GB are 128 of about 9 MB, and from 8 GiB on the number grows instead of the size.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

from workers.checkpoint.tensors import TensorSpec

_SHARES = 128
_CHUNK_BYTES_MIN = 4 * 2**20
_CHUNK_BYTES_MAX = 64 * 2**20


class Piece(NamedTuple):
    """Elements `start` to `stop` (exclusive, in C order) of the tensor `key`."""

    key: str
    start: int
    stop: int


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """What one stored object holds.

    Attributes:
        pieces: in the order of their keys; at most one of each tensor.
        nbytes: bytes of tensor data.
        frozen: training changes nothing in it. A chunk is never half frozen.
    """

    pieces: tuple[Piece, ...]
    nbytes: int
    frozen: bool


def plan_chunks(specs: Mapping[str, TensorSpec], chunk_bytes: int | None = None) -> tuple[Chunk, ...]:
    """Cut a state into chunks of equal size, to within one element.

    Frozen tensors come first and are cut on their own, so that their chunks stay the same whatever else
    the state holds; within each half tensors follow in the order of their keys. A tensor that lies across
    a cut is split between two elements.

    Args:
        specs: the state, by key.
        chunk_bytes: the largest chunk, in bytes; chosen from the size of each half if not given.
    """
    frozen = {key: specs[key] for key in sorted(specs) if specs[key].frozen}
    trained = {key: specs[key] for key in sorted(specs) if not specs[key].frozen}
    return (*_cut(frozen, chunk_bytes), *_cut(trained, chunk_bytes))


def chunk_bytes_for(total: int) -> int:
    """How large chunks of `total` bytes should be, in bytes."""
    return min(max(_CHUNK_BYTES_MIN, _ceil_div(total, _SHARES)), _CHUNK_BYTES_MAX)


def assign(chunks: Sequence[Chunk], world: int) -> tuple[tuple[int, ...], ...]:
    """Chunk numbers by rank, each chunk once, the bytes shared out evenly.

    Longest first to the least loaded rank (Graham, 1969). Chunks that training changes go first: they
    are what is written every time, so they must be even by themselves.
    """
    order = sorted(range(len(chunks)), key=lambda i: (chunks[i].frozen, -chunks[i].nbytes, i))
    loads = [(0, rank) for rank in range(world)]
    taken: list[list[int]] = [[] for _ in range(world)]
    for number in order:
        load, rank = loads[0]
        taken[rank].append(number)
        heapq.heapreplace(loads, (load + chunks[number].nbytes, rank))
    return tuple(tuple(sorted(numbers)) for numbers in taken)


def _cut(specs: Mapping[str, TensorSpec], chunk_bytes: int | None) -> Iterator[Chunk]:
    total = sum(spec.nbytes for spec in specs.values())
    count = max(1, _ceil_div(total, chunk_bytes or chunk_bytes_for(total)))
    for _, group in groupby(_pieces(specs.items(), total, count), key=lambda numbered: numbered[0]):
        pieces = tuple(piece for _, piece in group)
        nbytes = sum((piece.stop - piece.start) * specs[piece.key].item_bytes for piece in pieces)
        yield Chunk(pieces=pieces, nbytes=nbytes, frozen=specs[pieces[0].key].frozen)


def _pieces(specs: Iterable[tuple[str, TensorSpec]], total: int, count: int) -> Iterator[tuple[int, Piece]]:
    """Pieces with the number of their chunk: an element belongs where its first byte falls."""
    done = 0
    for key, spec in specs:
        start = 0
        while start < spec.elements:
            number = done * count // total
            next_cut = _ceil_div((number + 1) * total, count)
            stop = min(spec.elements, start + _ceil_div(next_cut - done, spec.item_bytes))
            yield number, Piece(key, start, stop)
            done += (stop - start) * spec.item_bytes
            start = stop
        if not spec.elements:
            yield min(done * count // max(total, 1), count - 1), Piece(key, 0, 0)


def _ceil_div(a: int, b: int) -> int:
    return -(-a // b)
