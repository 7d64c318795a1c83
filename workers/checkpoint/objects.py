"""The objects of a checkpoint folder: their names, and chunks ⇄ tensors.

manifests/000000000100.json   the commits, by step
chunks/<sha256>.safetensors   their bytes, named by what they hold
sidecars/000000000100.json    what varies between runs: time, workers, hosts; never needed
LATEST                        a hint for people; never read
clock/now                     empty; written to learn what time it is where the objects are
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from workers.checkpoint import safetensors_file
from workers.checkpoint.layout import Piece
from workers.checkpoint.manifest import ChunkRecord, Manifest
from workers.checkpoint.tensors import RawTensor
from workers.errors import CheckpointError
from workers.storage import NotFound, Store

MANIFESTS, CHUNKS, SIDECARS, CLOCK, LATEST = "manifests", "chunks", "sidecars", "clock", "LATEST"
FOLDERS = (MANIFESTS, CHUNKS, SIDECARS, CLOCK)

_MANIFEST_NAME = re.compile(rf"{MANIFESTS}/(\d{{12}})\.json")
_CHUNK_NAME = re.compile(rf"{CHUNKS}/([0-9a-f]{{64}})\.safetensors")
#: Requests in flight. Each holds one chunk in memory, so this bounds memory too.
_THREADS = 4
#: A read whose hash is wrong is tried once more: memory and networks err more often than disks.
_READS_MAX = 2
_ALTERED = "restore an earlier step; `lockstep checkpoint verify` lists every damaged object"

A = TypeVar("A")
R = TypeVar("R")


def manifest_name(step: int) -> str:
    """The object that commits `step`."""
    return f"{MANIFESTS}/{step:012d}.json"


def sidecar_name(step: int) -> str:
    """The object that says when and by whom `step` was saved."""
    return f"{SIDECARS}/{step:012d}.json"


def chunk_name(sha256: str) -> str:
    """The object whose bytes have this hash."""
    return f"{CHUNKS}/{sha256}.safetensors"


def step_of(name: str) -> int | None:
    """The step that a manifest's name commits; None for other objects."""
    match = _MANIFEST_NAME.fullmatch(name)
    return int(match[1]) if match else None


def sha256_of(name: str) -> str | None:
    """The hash in a chunk's name; None for other objects."""
    match = _CHUNK_NAME.fullmatch(name)
    return match[1] if match else None


def in_parallel(call: Callable[[A], R], items: Iterable[A]) -> Iterator[R]:
    """Results in order, from a few threads; the first error ends it and what has not started is dropped."""
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="checkpoint") as pool:
        yield from pool.map(call, items)


def encode_chunk(pieces: Iterable[Piece], data: Callable[[Piece], RawTensor]) -> list[bytes | memoryview]:
    """A chunk's object, in parts. A tensor that is in it whole keeps its shape; of others a flat range is."""
    return safetensors_file.encode({piece.key: data(piece) for piece in pieces})


def cut_from(tensors: Mapping[str, RawTensor]) -> Callable[[Piece], RawTensor]:
    """The pieces of a state that is at hand whole, without a copy."""
    return lambda piece: _cut(tensors[piece.key], piece)


def decode_chunk(data: bytes | memoryview, record: ChunkRecord) -> Iterator[tuple[Piece, memoryview]]:
    """The pieces that a chunk holds, with their bytes.

    Raises:
        ValueError: these are not the bytes of that chunk.
    """
    if len(data) != record.size or hashlib.sha256(data).hexdigest() != record.sha256:
        raise ValueError("its bytes are not what they were")
    held = safetensors_file.decode(data)
    for piece in record.pieces:
        if piece.key not in held or held[piece.key].spec.elements != piece.stop - piece.start:
            raise ValueError(f"it does not hold {piece.key} [{piece.start}:{piece.stop}]")
        yield piece, held[piece.key].data


def read_chunk(store: Store, manifest: Manifest, number: int) -> list[tuple[Piece, memoryview]]:
    """Fetch and verify one chunk of a checkpoint.

    Raises:
        CheckpointError: it is missing or altered; the message names chunk, tensors and manifest.
    """
    record = manifest.chunks[number]
    problem = ""
    for _ in range(_READS_MAX):
        try:
            return list(decode_chunk(store.get_view(chunk_name(record.sha256)), record))
        except NotFound:
            raise damaged(store, manifest, record, "is missing") from None
        except ValueError as error:
            problem = str(error)
    raise damaged(store, manifest, record, f"is altered: {problem}")


def damaged(store: Store, manifest: Manifest, record: ChunkRecord, problem: str) -> CheckpointError:
    """The error for a chunk that cannot be used."""
    keys = [piece.key for piece in record.pieces]
    tensors = keys[0] if len(keys) == 1 else f"{keys[0]} … {keys[-1]} ({len(keys)} tensors)"
    return CheckpointError(
        f"the chunk {problem}; it holds {tensors} of {manifest_name(manifest.step)}",
        where=store.url(chunk_name(record.sha256)),
        fix=_ALTERED,
    )


def _cut(tensor: RawTensor, piece: Piece) -> RawTensor:
    whole = piece.start == 0 and piece.stop == tensor.spec.elements
    shape = tensor.shape if whole else (piece.stop - piece.start,)
    return RawTensor(dtype=tensor.dtype, shape=shape, data=tensor.elements(piece.start, piece.stop))
