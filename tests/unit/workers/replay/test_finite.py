"""Numbers that are not finite are found in whatever a batch may be."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from workers.replay.finite import first_in, kind_of, leaves

BATCHES = st.recursive(
    st.one_of(st.integers(), st.text(max_size=3), st.none(), st.just(torch.zeros(2))),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.tuples(inner, inner),
        st.dictionaries(st.text("abc", min_size=1, max_size=2), inner, max_size=3),
    ),
    max_leaves=10,
)


def at(batch: Any, path: str) -> Any:
    for part in path.split("/") if path else []:
        batch = batch[part] if isinstance(batch, dict) else batch[int(part)]
    return batch


@given(BATCHES)
def test_every_leaf_is_found_under_its_path(batch: Any) -> None:
    for path, leaf in leaves(batch):
        assert at(batch, path) is leaf
    assert first_in(batch) is None


@given(BATCHES, st.sampled_from([math.nan, math.inf, -math.inf]), st.booleans())
def test_what_is_not_finite_is_found_among_the_rest(batch: Any, bad: float, as_array: bool) -> None:
    values = [1.0, bad]
    tensor = np.array(values, dtype="f4") if as_array else torch.tensor(values)
    kind = "nan" if math.isnan(bad) else "inf"
    assert first_in([batch, {"here": tensor}, torch.tensor(math.nan)]) == ("1/here", kind)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float8_e5m2, torch.complex64])
def test_of_every_type_of_floats(dtype: torch.dtype) -> None:
    assert kind_of(torch.tensor([1.0, 2.0]).to(dtype)) is None
    assert kind_of(torch.tensor([1.0, math.nan]).to(dtype)) == "nan"


def test_arrays_that_cannot_be_tensors_are_leaves_too() -> None:
    words = np.array(["a", "b"])
    [(path, leaf)] = leaves({"words": words})
    assert (path, leaf) == ("words", words) or leaf is words
    frozen = np.array([math.inf])
    frozen.flags.writeable = False
    assert first_in(frozen) == ("", "inf")
