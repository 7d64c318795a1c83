"""The safetensors file format, as bytes: https://github.com/huggingface/safetensors#format

Written here and not by the library for three reasons: a chunk's name is the hash of its bytes, so these
may not change with a library's version; a chunk that exists already should be hashed without being copied;
an export is too large to be handed over in one piece. The tests read all of it back with the library.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from typing import Any

from workers.checkpoint.tensors import RawTensor, TensorSpec

_LENGTH = struct.Struct("<Q")
_HEADER_BYTES_MAX = 100_000_000  # the library's own limit


def header(specs: Mapping[str, TensorSpec], metadata: Mapping[str, str] | None = None) -> bytes:
    """All that precedes the data: eight bytes of length, then JSON, padded to a multiple of eight bytes."""
    table: dict[str, object] = {"__metadata__": dict(sorted(metadata.items()))} if metadata else {}
    for key, start in offsets(specs).items():
        spec = specs[key]
        span = [start, start + spec.nbytes]
        table[key] = {"dtype": spec.dtype, "shape": list(spec.shape), "data_offsets": span}
    text = json.dumps(table, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _LENGTH.size)
    return _LENGTH.pack(len(text)) + text


def offsets(specs: Mapping[str, TensorSpec]) -> dict[str, int]:
    """Where each tensor starts, in bytes after the header, in the order of the data.

    Wide elements first, so that every tensor is aligned to its own element size; then by key.
    """
    found, end = {}, 0
    for key in sorted(specs, key=lambda key: (-specs[key].item_bytes, key)):
        found[key] = end
        end += specs[key].nbytes
    return found


def encode(tensors: Mapping[str, RawTensor]) -> list[bytes | memoryview]:
    """A file as the parts to be joined; the tensors' own memory is not copied."""
    specs = {key: tensor.spec for key, tensor in tensors.items()}
    return [header(specs), *(tensors[key].data for key in offsets(specs))]


def body_offset(head: bytes | memoryview) -> int:
    """Where the data begin, in bytes, from the first eight bytes of a file.

    Raises:
        ValueError: no safetensors file begins like this.
    """
    if len(head) < _LENGTH.size:
        raise ValueError("not a safetensors file: it is too short")
    length: int = _LENGTH.unpack_from(head)[0]
    if length > _HEADER_BYTES_MAX:
        raise ValueError(f"not a safetensors file: its header would have {length:,} bytes")
    return _LENGTH.size + length


def read_header(head: bytes | memoryview, file_bytes: int) -> dict[str, tuple[TensorSpec, int]]:
    """Each tensor of a file and where in the file it starts, from all that precedes the data.

    Raises:
        ValueError: not the header of a safetensors file of that size.
        CheckpointError: a dtype that we cannot store.
    """
    begin = body_offset(head)
    try:
        table = json.loads(bytes(head[_LENGTH.size : begin]))
        table.pop("__metadata__", None)
        found = {}
        for key, entry in table.items():
            spec = TensorSpec(dtype=entry["dtype"], shape=tuple(entry["shape"]))
            start, stop = entry["data_offsets"]
            if start < 0 or stop - start != spec.nbytes or begin + stop > file_bytes:
                raise ValueError(f"{key} lies outside of it")
            found[key] = spec, begin + start
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not a safetensors file, or one that was cut short: {error}") from error
    return found


def decode(data: bytes | memoryview) -> dict[str, RawTensor]:
    """Tensors by key, as views into `data`.

    Raises:
        ValueError: it is not a whole safetensors file.
    """
    try:
        (length,) = _LENGTH.unpack_from(data)
        body = _LENGTH.size + length
        table = json.loads(bytes(data[_LENGTH.size : body]))
        table.pop("__metadata__", None)
        return {key: _tensor(memoryview(data)[body:], entry) for key, entry in table.items()}
    except (struct.error, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not a safetensors file: {error}") from error


def _tensor(body: memoryview, entry: Mapping[str, Any]) -> RawTensor:
    start, stop = entry["data_offsets"]
    return RawTensor(dtype=entry["dtype"], shape=tuple(entry["shape"]), data=body[start:stop])
