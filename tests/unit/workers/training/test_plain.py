"""Plain state ⇄ strict JSON, exactly."""

from __future__ import annotations

import json
import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.training.plain import NotPlain, decode, encode

leaves = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5)
keys = (
    st.text(max_size=5)
    | st.integers()
    | st.tuples(st.integers(), st.text(max_size=2))
    | st.sampled_from(["__tuple__", "__pairs__", "__counter__", "__float__"])
)
values = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(keys, inner, max_size=4)
        | st.dictionaries(keys, st.integers(), max_size=4).map(Counter)
    ),
    max_leaves=12,
)


def types(value: object) -> object:
    """Equality alone takes 1 for True and (1,) for a named tuple."""
    if isinstance(value, dict):
        return type(value).__name__, [(types(key), types(item)) for key, item in value.items()]
    if isinstance(value, (list, tuple)):
        return type(value).__name__, [types(item) for item in value]
    return type(value).__name__, repr(value)


@given(values)
def test_what_is_encoded_comes_back_the_same_through_strict_json(value):
    back = decode(json.loads(json.dumps(encode(value), allow_nan=False)))
    assert back == value
    assert types(back) == types(value)


def test_not_a_number_comes_back_too():
    assert math.isnan(decode(json.loads(json.dumps(encode({"best": math.nan}), allow_nan=False)))["best"])


@pytest.mark.parametrize(
    ("value", "where"),
    [
        ({1, 2}, "state is a set"),
        ({"a": [0, b"x"]}, r"state\.a\[1\] is a bytes"),
        ({3: object()}, r"state\[3\]"),
    ],
)
def test_what_json_cannot_say_is_refused_where_it_is(value, where):
    with pytest.raises(NotPlain, match=where):
        encode(value)
