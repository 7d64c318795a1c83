"""Numbers that are not finite: where they are in what recipes pass around."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

NonFiniteKind = Literal["nan", "inf"]


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """What nested mappings, lists and tuples hold, each by its path such as `0/labels`.

    Arrays of numbers come as tensors.
    """
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from leaves(item, _join(path, key))
    elif isinstance(value, (list, tuple)):
        for number, item in enumerate(value):
            yield from leaves(item, _join(path, number))
    elif isinstance(value, np.ndarray):
        yield path, _as_tensor(value)
    else:
        yield path, value


def kind_of(value: Any) -> NonFiniteKind | None:
    """What is wrong with a tensor or a number, if anything is; NaN counts more than infinity."""
    if isinstance(value, float):
        value = torch.tensor(value)
    if not isinstance(value, Tensor) or not (value.is_floating_point() or value.is_complex()):
        return None
    if value.element_size() == 1:  # of a type that torch cannot look at
        value = value.float()
    if bool(torch.isfinite(value).all()):
        return None
    return "nan" if bool(torch.isnan(value).any()) else "inf"


def first_in(value: Any) -> tuple[str, NonFiniteKind] | None:
    """The path of the first leaf with a number that is not finite, and what that is."""
    for path, leaf in leaves(value):
        kind = kind_of(leaf)
        if kind is not None:
            return path, kind
    return None


def _as_tensor(array: np.ndarray[Any, Any]) -> Any:
    """An array of numbers as a tensor, anything else as it is."""
    try:
        return torch.from_numpy(array if array.flags.writeable else array.copy())
    except TypeError:
        return array


def _join(path: str, key: object) -> str:
    return f"{path}/{key}" if path else str(key)
