"""Where a replica is not what a checkpoint says: which tensors, in how many elements, by how much."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from workers.checkpoint.load import iter_tensors
from workers.checkpoint.manifest import Manifest
from workers.checkpoint.objects import cut_from, encode_chunk
from workers.checkpoint.tensors import RawTensor
from workers.storage import Store
from workers.training.replica import Replica, from_raw

Json = Any


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A part of the state that differs.

    Attributes:
        key: of a tensor; or `scalars/<name>` of state that is not tensors.
        elements: so many of a tensor's differ,
        of: so many.
        max_abs: the largest difference; None where there is none to be had: shapes differ, or an element is
            NaN or infinite on one side only.
        what: in words.
    """

    key: str
    what: str
    elements: int = 0
    of: int = 0
    max_abs: float | None = None

    def json(self) -> dict[str, Json]:
        """Its fields."""
        return asdict(self)


def differences(replica: Replica, store: Store, manifest: Manifest) -> list[Difference]:
    """What differs, tensors in the order of their keys. Reads only those chunks whose hashes differ.

    Raises:
        CheckpointError: the checkpoint is damaged.
    """
    own, specs = replica.raw(), replica.specs()
    found = [
        Difference(key=key, what="is in the checkpoint only" if key not in specs else "is not in it")
        for key in sorted(manifest.tensors.keys() ^ specs.keys())
    ]
    common = manifest.tensors.keys() & specs.keys()
    found += [
        Difference(key=key, what=f"was {_kind(manifest.tensors[key])}, is {_kind(own[key])}")
        for key in sorted(common)
        if _kind(manifest.tensors[key]) != _kind(own[key])
    ]
    alike = {key for key in common if _kind(manifest.tensors[key]) == _kind(own[key])}
    suspects = alike & _in_other_chunks(own, manifest)
    for key, theirs in iter_tensors(store, manifest, suspects):
        if theirs.data != own[key].data:
            found.append(_of_values(key, theirs, own[key]))
    return [*found, *_of_scalars(manifest.scalars, replica.scalars())]


def _in_other_chunks(own: Mapping[str, RawTensor], manifest: Manifest) -> set[str]:
    """The tensors of those chunks that would not have the hash that they have."""
    suspects: set[str] = set()
    for chunk in manifest.chunks:
        keys = {piece.key for piece in chunk.pieces}
        if keys <= own.keys():
            try:
                digest = hashlib.sha256(b"".join(encode_chunk(chunk.pieces, cut_from(own)))).hexdigest()
            except ValueError:  # of other shapes
                digest = ""
            if digest == chunk.sha256:
                continue
        suspects |= keys
    return suspects


def _of_values(key: str, then: RawTensor, now: RawTensor) -> Difference:
    a, b = from_raw(then), from_raw(now)
    width = then.spec.item_bytes
    others = torch.ne(_octets(a, width), _octets(b, width)).any(dim=1)
    elements, largest = int(others.sum()), _largest(a.reshape(-1)[others], b.reshape(-1)[others])
    said = f", by {largest:.3g} at most" if largest is not None else ""
    return Difference(
        key=key,
        elements=elements,
        of=then.spec.elements,
        max_abs=largest,
        what=f"differs in {elements:,} of {then.spec.elements:,} elements{said}",
    )


def _octets(tensor: Tensor, width: int) -> Tensor:
    return tensor.contiguous().reshape(-1).view(torch.uint8).view(-1, width)


def _largest(a: Tensor, b: Tensor) -> float | None:
    kind = torch.complex128 if a.is_complex() else torch.float64
    largest = float((a.to(kind) - b.to(kind)).abs().max())
    return largest if math.isfinite(largest) else None


def _of_scalars(then: Mapping[str, Json], now: Mapping[str, Json]) -> Iterator[Difference]:
    for name in sorted(then.keys() | now.keys()):
        if then.get(name) != now.get(name):
            yield Difference(
                key=f"scalars/{name}", what=f"was {_short(then.get(name))}, is {_short(now.get(name))}"
            )


def _short(value: Json) -> str:
    text = str(value)
    return text if len(text) <= 200 else f"{text[:199]}…"


def _kind(tensor: Any) -> str:
    """Type and shape."""
    return f"{tensor.dtype} {tuple(tensor.shape)}"
