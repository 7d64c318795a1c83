"""Python state that is not tensors ⇄ JSON: exact, strict, and without pickle.

JSON knows neither tuples, nor keys that are not strings, nor infinity, and a learning-rate schedule may have
all three (`MultiStepLR` keeps a Counter of integers). They are written as small tagged objects.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

_PAIRS, _COUNTER, _TUPLE, _FLOAT = "__pairs__", "__counter__", "__tuple__", "__float__"
_TAGS = frozenset({_PAIRS, _COUNTER, _TUPLE, _FLOAT})


class NotPlain(TypeError):
    """The value holds something that JSON cannot say exactly; the message names where."""


def encode(value: Any, where: str = "state") -> Any:
    """Nested dicts, lists, tuples, Counters, numbers, strings, booleans and None → strict JSON values.

    Raises:
        NotPlain: something else is in it.
    """
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else {_FLOAT: str(float(value))}
    if isinstance(value, Counter):
        return {_COUNTER: [[encode(k, where), encode(v, f"{where}[{k!r}]")] for k, v in value.items()]}
    if isinstance(value, dict):
        if all(isinstance(key, str) and key not in _TAGS for key in value):
            return {key: encode(item, f"{where}.{key}") for key, item in value.items()}
        return {_PAIRS: [[encode(k, where), encode(v, f"{where}[{k!r}]")] for k, v in value.items()]}
    if isinstance(value, tuple):
        return {_TUPLE: [encode(item, f"{where}[{i}]") for i, item in enumerate(value)]}
    if isinstance(value, list):
        return [encode(item, f"{where}[{i}]") for i, item in enumerate(value)]
    raise NotPlain(f"{where} is a {type(value).__name__}")


def decode(value: Any) -> Any:
    """The inverse of `encode`."""
    if isinstance(value, list):
        return [decode(item) for item in value]
    if not isinstance(value, dict):
        return value
    if _FLOAT in value:
        return float(value[_FLOAT])
    if _COUNTER in value:
        return Counter({decode(k): decode(v) for k, v in value[_COUNTER]})
    if _PAIRS in value:
        return {decode(k): decode(v) for k, v in value[_PAIRS]}
    if _TUPLE in value:
        return tuple(decode(item) for item in value[_TUPLE])
    return {key: decode(item) for key, item in value.items()}
