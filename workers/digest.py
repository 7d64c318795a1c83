"""The state digest: one SHA-256 over everything that training carries from step to step."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping

from workers.checkpoint.tensors import RawTensor


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
        shape = json.dumps(list(tensor.shape), separators=(",", ":"))
        digest.update(f"{key}\0{tensor.dtype}\0{shape}\0".encode())
        digest.update(tensor.data)
    return digest.hexdigest()
