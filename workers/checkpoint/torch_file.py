"""The file format of `torch.save`, as bytes: https://docs.pytorch.org/docs/stable/notes/serialization.html

A zip archive of records that are not compressed: `data.pkl`, a pickle that says how tensors are built, and
the bytes of each tensor. It is written here and not by the library because that wants all of it in memory.
Nothing is pickled in Python's sense, no object of ours goes in: the few opcodes that describe a dict of
tensors are written one by one, and `torch.load(weights_only=True)`, which knows no others, reads them.
"""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Iterable, Mapping
from typing import BinaryIO, Self

from workers.checkpoint.tensors import TensorSpec

_PREFIX = "archive"
#: As torch does: so that a mapped file's tensors can be used in place.
_ALIGNMENT = 64
_PADDING_ID = 0x4246  # torch's own
#: What precedes a record: the fixed part of its header, the size in 64 bits, the padding's own head.
_HEADER_BYTES = 30 + 20 + 4

#: dtypes that torch names by the class of their storage.
_STORAGES = {
    "BOOL": "BoolStorage", "U8": "ByteStorage", "I8": "CharStorage", "I16": "ShortStorage",
    "I32": "IntStorage", "I64": "LongStorage", "F16": "HalfStorage", "BF16": "BFloat16Storage",
    "F32": "FloatStorage", "F64": "DoubleStorage", "C64": "ComplexFloatStorage",
}  # fmt: skip
#: Newer ones, whose storage has no type.
_DTYPES = {
    "U16": "uint16", "U32": "uint32", "U64": "uint64",
    "F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2", "F8_E8M0": "float8_e8m0fnu",
    "F8_E4M3FNUZ": "float8_e4m3fnuz", "F8_E5M2FNUZ": "float8_e5m2fnuz",
}  # fmt: skip


class TorchFile:
    """A state dict that is written tensor by tensor, in any order. It is whole when its `with` block ends.

    Args:
        file: where to; at its beginning.
        specs: all tensors by key; the loaded dict has these keys in sorted order.
    """

    def __init__(self, file: BinaryIO, specs: Mapping[str, TensorSpec]) -> None:
        self._file, self._specs = file, specs
        self._numbers = {key: number for number, key in enumerate(sorted(specs))}
        self._zip = zipfile.ZipFile(file, "w", zipfile.ZIP_STORED)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        try:
            if kind is None:
                records = {
                    "data.pkl": state_dict_pickle(self._specs),
                    "byteorder": b"little",
                    "version": b"3\n",
                }
                for name, data in records.items():
                    self._record(name, len(data), [data])
        finally:
            self._zip.close()  # the file itself stays open

    def write(self, key: str, parts: Iterable[memoryview]) -> None:
        """Write one tensor: its bytes, little-endian and in C order, cut anywhere."""
        self._record(f"data/{self._numbers[key]}", self._specs[key].nbytes, parts)

    def _record(self, name: str, nbytes: int, parts: Iterable[bytes | memoryview]) -> None:
        info = zipfile.ZipInfo(f"{_PREFIX}/{name}")  # dated 1980: the same state is the same file
        info.file_size = nbytes
        padding = -(self._file.tell() + _HEADER_BYTES + len(info.filename)) % _ALIGNMENT
        info.extra = struct.pack("<HH", _PADDING_ID, padding) + b"Z" * padding
        with self._zip.open(info, "w", force_zip64=True) as record:
            for part in parts:
                record.write(part)


def state_dict_pickle(specs: Mapping[str, TensorSpec]) -> bytes:
    """A pickle (protocol 2) of a dict of contiguous CPU tensors; the n-th key's bytes are record `data/n`."""
    items = b"".join(_text(key) + _tensor(number, specs[key]) for number, key in enumerate(sorted(specs)))
    return b"\x80\x02}(" + items + b"u."  # a dict; a mark; keys and values; set them; end


def _tensor(number: int, spec: TensorSpec) -> bytes:
    """The call that rebuilds a tensor from its storage."""
    typed = _STORAGES.get(spec.dtype)
    storage = _global("torch", typed) if typed else _global("torch.storage", "UntypedStorage")
    count = spec.elements if typed else spec.nbytes
    reference = b"(" + _text("storage") + storage + _text(str(number)) + _text("cpu") + _int(count) + b"tQ"
    arguments = reference + _int(0) + _ints(spec.shape) + _ints(_strides(spec.shape))
    arguments += b"\x89" + _global("collections", "OrderedDict") + b")R"  # needs no gradient, has no hooks
    if typed:
        return _global("torch._utils", "_rebuild_tensor_v2") + b"(" + arguments + b"tR"
    dtype = _global("torch", _DTYPES[spec.dtype])
    return _global("torch._utils", "_rebuild_tensor_v3") + b"(" + arguments + dtype + b"tR"


def _strides(shape: tuple[int, ...]) -> list[int]:
    """In elements, of a contiguous tensor."""
    strides, step = [], 1
    for size in reversed(shape):
        strides.append(step)
        step *= max(size, 1)
    return strides[::-1]


def _global(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


def _text(value: str) -> bytes:
    data = value.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def _int(value: int) -> bytes:
    if value < 2**31:
        return b"J" + struct.pack("<i", value)
    return b"\x8a\x08" + struct.pack("<q", value)


def _ints(values: Iterable[int]) -> bytes:
    return b"(" + b"".join(map(_int, values)) + b"t"
