"""By how much two runs of elements differ. Pure.

Elements differ if their bits do: 0 and -0, or two kinds of NaN, are different states. Sizes of differences
are those of the numbers that the bits stand for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from workers.checkpoint.tensors import ITEM_BYTES

Array = npt.NDArray[Any]

_NUMBERS = {
    "BOOL": "u1", "U8": "u1", "I8": "i1", "U16": "<u2", "I16": "<i2", "U32": "<u4", "I32": "<i4",
    "U64": "<u8", "I64": "<i8", "F16": "<f2", "F32": "<f4", "F64": "<f8", "C64": "<c8",
}  # fmt: skip
_LONG = ("I64", "U64")
_LARGEST = float(np.finfo(np.float64).max)


@dataclass(frozen=True, kw_only=True)
class Measured:
    """How two runs of elements differ; `+` is that of two runs.

    Attributes:
        elements: whose bits differ.
        not_finite: of these, how many are NaN or infinite on either side; the sizes leave them out.
        max_abs: the largest difference, |a - b|, as float64; None if there is none that has a size: nothing
            differs, or only what is not finite, or the type is one that is compared as bytes (8-bit floats).
        max_rel: the largest |a - b| / max(|a|, |b|): 0 if equal as numbers, 2 if of opposite sign.
    """

    elements: int = 0
    not_finite: int = 0
    max_abs: float | None = None
    max_rel: float | None = None

    def __add__(self, other: Measured) -> Measured:
        return Measured(
            elements=self.elements + other.elements,
            not_finite=self.not_finite + other.not_finite,
            max_abs=_larger(self.max_abs, other.max_abs),
            max_rel=_larger(self.max_rel, other.max_rel),
        )


def measure(dtype: str, a: memoryview, b: memoryview) -> Measured:
    """Compare elements of one type, as many on either side. Needs memory for a few copies of them.

    Args:
        dtype: safetensors' name.
        a, b: their bytes, little-endian.
    """
    if a == b:
        return Measured()
    bits = f"<u{ITEM_BYTES[dtype]}"
    where = np.flatnonzero(np.frombuffer(a, bits) != np.frombuffer(b, bits))
    u, v = np.frombuffer(a, bits)[where], np.frombuffer(b, bits)[where]
    x, y = _numbers(dtype, u), _numbers(dtype, v)
    if x is None or y is None:
        return Measured(elements=len(where))
    finite = np.isfinite(x) & np.isfinite(y)
    x, y = x[finite], y[finite]
    not_finite = len(where) - len(x)
    if not len(x):
        return Measured(elements=len(where), not_finite=not_finite)
    scale = np.maximum(np.abs(x), np.abs(y))
    with np.errstate(over="ignore"):
        difference = _distance(dtype, u, v) if dtype in _LONG else np.minimum(np.abs(x - y), _LARGEST)
    divisor = np.where(scale == 0, 1.0, scale)  # 0 and -0
    return Measured(
        elements=len(where),
        not_finite=not_finite,
        max_abs=float(difference.max()),
        max_rel=float(np.abs(x / divisor - y / divisor).max()),
    )


def _numbers(dtype: str, bits: Array) -> Array | None:
    """What the bits stand for, in double precision; None for types that numpy does not know."""
    if dtype == "BF16":  # the upper half of a float32
        bits, dtype = bits.astype("<u4") << 16, "F32"
    if dtype not in _NUMBERS:
        return None
    with np.errstate(invalid="ignore"):  # NaN of some kinds
        return bits.view(_NUMBERS[dtype]).astype(np.complex128 if dtype == "C64" else np.float64)


def _distance(dtype: str, u: Array, v: Array) -> Array:
    """Of 64-bit integers, which double precision would round first: exact modulo 2^64, and so exact."""
    x, y = u.view(_NUMBERS[dtype]), v.view(_NUMBERS[dtype])
    distance: Array = np.maximum(x, y).view("<u8") - np.minimum(x, y).view("<u8")
    return distance.astype(np.float64)


def _larger(a: float | None, b: float | None) -> float | None:
    return b if a is None else a if b is None else max(a, b)
