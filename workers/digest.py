"""The state digest: one SHA-256 over everything that training carries from step to step."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping

from workers.checkpoint.layout import Piece
from workers.checkpoint.tensors import RawTensor, TensorSpec


def state_digest(tensors: Mapping[str, RawTensor]) -> str:
    """SHA-256, in hexadecimal, over model, buffer and optimizer tensors in the order of their keys.

    For each key in sorted order: the key, a zero byte, the safetensors dtype name, a zero byte, the shape as
    JSON without spaces, a zero byte, the raw little-endian bytes. Anyone can recompute it from an export.
    """
    return digest_of_sorted((key, tensors[key]) for key in sorted(tensors))


def digest_of_sorted(tensors: Iterable[tuple[str, RawTensor]]) -> str:
    """The same over a stream that is sorted by key, for states that do not fit into memory at once."""
    digest = hashlib.sha256()
    for key, tensor in tensors:
        digest.update(_head(key, tensor.spec))
        digest.update(tensor.data)
    return digest.hexdigest()


def digest_of_pieces(
    specs: Mapping[str, TensorSpec], pieces: Iterable[Piece], data: Callable[[Piece], RawTensor]
) -> str:
    """The same of a state that is cut into pieces, which together hold each element once."""
    digest, headed = hashlib.sha256(), set()
    for piece in sorted(pieces):
        if piece.key not in headed:
            digest.update(_head(piece.key, specs[piece.key]))
            headed.add(piece.key)
        digest.update(data(piece).data)
    return digest.hexdigest()


def _head(key: str, spec: TensorSpec) -> bytes:
    shape = json.dumps(list(spec.shape), separators=(",", ":"))
    return f"{key}\0{spec.dtype}\0{shape}\0".encode()
