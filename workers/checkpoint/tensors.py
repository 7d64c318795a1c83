"""Tensors without torch: what they are and their bytes.

Keys name a tensor within a job's state: `model/<parameter or buffer>`, `optimizer/<parameter>/<slot>`,
`extra/<name>`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

from workers.errors import CheckpointError

#: Bytes of one element by safetensors' names. Its types smaller than a byte are left out: torch packs those
#: into bytes itself, and a range of elements would not be a range of bytes.
ITEM_BYTES: Mapping[str, int] = {
    "BOOL": 1, "U8": 1, "I8": 1,
    "F8_E4M3": 1, "F8_E5M2": 1, "F8_E8M0": 1, "F8_E4M3FNUZ": 1, "F8_E5M2FNUZ": 1,
    "U16": 2, "I16": 2, "F16": 2, "BF16": 2,
    "U32": 4, "I32": 4, "F32": 4,
    "U64": 8, "I64": 8, "F64": 8, "C64": 8,
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class TensorSpec:
    """What a tensor is.

    Attributes:
        dtype: safetensors' name: "F32", "BF16", "I64", "BOOL", ...
        shape: `()` for a scalar.
        frozen: training never changes it.

    Raises:
        CheckpointError: a dtype that we cannot store.
    """

    dtype: str
    shape: tuple[int, ...]
    frozen: bool = False

    def __post_init__(self) -> None:
        if self.dtype not in ITEM_BYTES:
            fix = f"use one of {', '.join(ITEM_BYTES)}"
            raise CheckpointError(f"tensors of type {self.dtype} cannot be stored", fix=fix)

    @property
    def item_bytes(self) -> int:
        """Bytes of one element."""
        return ITEM_BYTES[self.dtype]

    @property
    def elements(self) -> int:
        """How many elements; 1 for a scalar."""
        return prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of all elements."""
        return self.elements * self.item_bytes


@dataclass(frozen=True, kw_only=True)
class RawTensor:
    """A tensor as bytes.

    Attributes:
        dtype: safetensors' name.
        shape: `()` for a scalar.
        data: its elements, little-endian and C-contiguous, as a flat view of bytes.

    Raises:
        ValueError: `data` is not a flat view of bytes, or not of the length that dtype and shape ask for.
    """

    dtype: str
    shape: tuple[int, ...]
    data: memoryview

    def __post_init__(self) -> None:
        expected = self.spec.nbytes
        if self.data.format != "B" or self.data.ndim != 1 or len(self.data) != expected:
            raise ValueError(f"{self.dtype} {self.shape} needs {expected} flat bytes, not {self.data!r}")

    @property
    def spec(self) -> TensorSpec:
        """What this tensor is; whether it is frozen is not known here."""
        return TensorSpec(dtype=self.dtype, shape=self.shape)

    def elements(self, start: int, stop: int) -> memoryview:
        """The bytes of elements `start` to `stop`, without a copy."""
        item = ITEM_BYTES[self.dtype]
        return self.data[start * item : stop * item]
