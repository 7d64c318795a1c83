"""Compares two states tensor by tensor, with a chunk of each in memory."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from workers.checkpoint.measure import Measured, measure
from workers.checkpoint.sides import Side, Span
from workers.checkpoint.tensors import TensorSpec

Json = Any

#: Elements compared at once: what is computed on the way is several times their size.
_BLOCK = 2**18


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A tensor that both have and that differs.

    Attributes:
        a, b: what it is on either side. If these are not of one type and shape, no elements are compared.
        measured: how the elements differ; None if they are not compared.
    """

    key: str
    a: TensorSpec
    b: TensorSpec
    measured: Measured | None


@dataclass(frozen=True, kw_only=True)
class Diff:
    """How two states differ.

    Attributes:
        only_a, only_b: keys that the other has not.
        tensors: those that differ, by key.
        equal: how many tensors do not.
        facts: dotted name → value on either side, "(none)" where there is none; None if a side tells none.
        read_bytes: of tensors, on both sides; what is equal by its chunk's hash is not read.
    """

    only_a: tuple[str, ...]
    only_b: tuple[str, ...]
    tensors: tuple[Difference, ...]
    equal: int
    facts: Mapping[str, tuple[Json, Json]] | None
    read_bytes: int

    @property
    def same(self) -> bool:
        """There is no difference."""
        return not (self.only_a or self.only_b or self.tensors or self.facts)


def compare(a: Side, b: Side) -> Diff:
    """Everything in which two states differ.

    Raises:
        CheckpointError: a chunk that has to be read is missing or altered.
    """
    both = sorted(a.specs.keys() & b.specs.keys(), key=lambda key: (not a.specs[key].frozen, key))
    found, read_bytes = [], 0  # in the order in which chunks hold them, so that each is fetched once
    for key in both:
        one, other = a.specs[key], b.specs[key]
        if (one.dtype, one.shape) != (other.dtype, other.shape):
            found.append(Difference(key=key, a=one, b=other, measured=None))
            continue
        measured, read = _compare(a, b, key)
        read_bytes += read
        if measured.elements:
            found.append(Difference(key=key, a=one, b=other, measured=measured))
    return Diff(
        only_a=tuple(sorted(a.specs.keys() - b.specs.keys())),
        only_b=tuple(sorted(b.specs.keys() - a.specs.keys())),
        tensors=tuple(sorted(found, key=lambda difference: difference.key)),
        equal=len(both) - len(found),
        facts=_facts(a, b),
        read_bytes=read_bytes,
    )


def compare_facts(a: Mapping[str, Json], b: Mapping[str, Json]) -> dict[str, tuple[Json, Json]]:
    """Dotted name → both values, of the facts that differ."""
    flat_a, flat_b = dict(_flat(a)), dict(_flat(b))
    pairs = {
        name: (flat_a.get(name, "(none)"), flat_b.get(name, "(none)"))
        for name in sorted(flat_a.keys() | flat_b.keys())
    }
    return {name: pair for name, pair in pairs.items() if _text(pair[0]) != _text(pair[1])}


def _facts(a: Side, b: Side) -> dict[str, tuple[Json, Json]] | None:
    if a.facts is None or b.facts is None:
        return None
    frozen = {
        f"frozen.{key}": (a.specs[key].frozen, b.specs[key].frozen)
        for key in sorted(a.specs.keys() & b.specs.keys())
        if a.specs[key].frozen != b.specs[key].frozen
    }
    return compare_facts(a.facts, b.facts) | frozen


def _compare(a: Side, b: Side, key: str) -> tuple[Measured, int]:
    """How a tensor's elements differ, and how many bytes had to be read."""
    spec, measured, read_bytes = a.specs[key], Measured(), 0
    for start, stop in _ranges(a.spans(key), b.spans(key)):
        for begin in range(start, stop, _BLOCK):
            end = min(begin + _BLOCK, stop)
            measured += measure(spec.dtype, a.read(key, begin, end), b.read(key, begin, end))
        read_bytes += 2 * (stop - start) * spec.item_bytes
    return measured, read_bytes


def _ranges(a: list[Span], b: list[Span]) -> Iterator[tuple[int, int]]:
    """What is within one span of either side, and has to be read.

    The same elements in a chunk of the same hash are the same bytes.
    """
    i = j = 0
    while i < len(a) and j < len(b):
        start, stop = max(a[i].start, b[j].start), min(a[i].stop, b[j].stop)
        if start < stop and (a[i] != b[j] or a[i].sha256 is None):
            yield start, stop
        i, j = i + (a[i].stop == stop), j + (b[j].stop == stop)


def _flat(facts: Mapping[str, Json], prefix: str = "") -> Iterator[tuple[str, Json]]:
    """Nested values by their dotted names; items of lists by number."""
    for name, value in facts.items():
        if isinstance(value, list) and value:
            value = {str(number): item for number, item in enumerate(value)}
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _text(value: Json) -> str:
    return json.dumps(value, sort_keys=True)
