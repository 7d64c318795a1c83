import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from workers.checkpoint.measure import Measured, measure
from workers.checkpoint.tensors import ITEM_BYTES


def view(array: np.ndarray) -> memoryview:
    return memoryview(array.tobytes())


@given(
    st.sampled_from(["<f2", "<f4", "<f8", "|i1", "<i2", "<i4", "<i8", "|u1", "<u2", "<u4", "<u8"]).flatmap(
        lambda dtype: st.integers(0, 20).flatmap(
            lambda n: st.tuples(hnp.arrays(dtype, n), hnp.arrays(dtype, n))
        )
    )
)
@settings(deadline=None)
def test_what_differs_and_by_how_much_is_what_plain_numbers_say(arrays) -> None:
    a, b = arrays
    name = {"f": "F", "i": "I", "u": "U"}[a.dtype.kind] + str(8 * a.dtype.itemsize)
    found = measure(name, view(a), view(b))
    pairs = [(x, y) for x, y in zip(a, b, strict=True) if x.tobytes() != y.tobytes()]
    numbers = [(x.item(), y.item()) for x, y in pairs if np.isfinite(x) and np.isfinite(y)]
    assert (found.elements, found.not_finite) == (len(pairs), len(pairs) - len(numbers))
    if not numbers:
        assert (found.max_abs, found.max_rel) == (None, None)
        return
    expected = max(abs(x - y) for x, y in numbers)
    assert found.max_abs == min(float(expected), float(np.finfo(np.float64).max))
    assert 0 <= found.max_rel <= 2
    ratios = [abs(x - y) / max(abs(x), abs(y)) for x, y in numbers if x or y]
    if ratios and all(map(math.isfinite, ratios)):
        assert found.max_rel == pytest.approx(max(ratios), abs=1e-15)


@given(hnp.arrays(np.uint16, 6), hnp.arrays(np.uint16, 6))
@settings(deadline=None)
def test_bfloat16_is_what_torch_says_it_is(a, b) -> None:
    found = measure("BF16", view(a), view(b))
    x, y = (torch.from_numpy(array.copy()).view(torch.bfloat16).double().numpy() for array in (a, b))
    differ = (a != b) & np.isfinite(x) & np.isfinite(y)
    assert found.max_abs == (np.abs(x - y)[differ].max() if differ.any() else None)


@pytest.mark.parametrize("dtype", sorted(ITEM_BYTES))
def test_every_type_can_be_compared(dtype) -> None:
    item = ITEM_BYTES[dtype]
    a, b = bytearray(3 * item), bytearray(3 * item)
    assert measure(dtype, memoryview(a), memoryview(b)) == Measured()
    b[item] = 1
    assert measure(dtype, memoryview(a), memoryview(b)).elements == 1


def test_zeros_of_both_signs_are_different_bits_and_no_distance_apart() -> None:
    found = measure("F32", view(np.array([0.0, 1.0], "<f4")), view(np.array([-0.0, 1.0], "<f4")))
    assert found == Measured(elements=1, max_abs=0.0, max_rel=0.0)


def test_64_bit_integers_are_not_rounded_before_they_are_compared() -> None:
    found = measure("I64", view(np.array([2**62, -(2**63)])), view(np.array([2**62 + 1, -(2**63)])))
    assert found.max_abs == 1.0
    found = measure("I64", view(np.array([-(2**63)])), view(np.array([2**63 - 1])))
    assert found.max_abs == float(2**64 - 1)


def test_complex_numbers_are_as_far_apart_as_they_are_in_the_plane() -> None:
    found = measure("C64", view(np.array([1 + 1j], "<c8")), view(np.array([4 + 5j], "<c8")))
    assert found.max_abs == 5.0


def test_two_runs_together_are_one_run() -> None:
    a, b = np.array([1, 2, np.nan, 4], "<f4"), np.array([1, 3, 5, -4], "<f4")
    parts = measure("F32", view(a[:2]), view(b[:2])) + measure("F32", view(a[2:]), view(b[2:]))
    assert (
        parts
        == measure("F32", view(a), view(b))
        == Measured(elements=3, not_finite=1, max_abs=8.0, max_rel=2.0)
    )
