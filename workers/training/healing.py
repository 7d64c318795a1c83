"""When a generation forms, its members may hold different states: the furthest one becomes everybody's.

Some survivors of a broken step may have applied it and others not, and a new worker holds nothing. Steps are
functions of the state before them, so whoever is further on holds what the others would have come to.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from workers.checkpoint.tensors import RawTensor
from workers.numerics.exchange import Exchange, all_gather
from workers.training.replica import Replica

_TAG = 3
#: A state travels in batches of this many bytes, so that a GPU needs little memory for it.
_BATCH_BYTES = 64 * 2**20
_NONE = -1


class Held(NamedTuple):
    """What one member holds: the state after `step` steps, evaluated last after `evaluated`."""

    step: int | None
    evaluated: int | None = None


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """What the members of a generation found out about one another.

    Attributes:
        source: the rank whose state becomes everybody's; None if nobody holds one.
        behind: ranks that take it over.
        held: what all members hold in the end.
    """

    source: int | None
    behind: tuple[int, ...]
    held: Held


def agree(exchange: Exchange, own: Held) -> Agreement:
    """Tell all members what this one holds, and hear what they hold. The same on every member.

    Raises:
        PeerLost: a member is gone.
    """
    row = torch.tensor([_NONE if n is None else n for n in own], dtype=torch.int64, device=exchange.device)
    rows = {rank: row if rank == exchange.rank else torch.empty_like(row) for rank in range(exchange.world)}
    all_gather(exchange, row, rows, _TAG).wait()
    exchange.flush()
    found = [tuple(rows[rank].tolist()) for rank in range(exchange.world)]
    return decide(found)


def decide(rows: list[tuple[int, ...]]) -> Agreement:
    """Who gives and who takes, from each rank's (step, evaluated), -1 for nothing. Pure."""
    furthest = max(rows)
    step, evaluated = (None if number == _NONE else number for number in furthest)
    if step is None:
        return Agreement(source=None, behind=(), held=Held(None))
    behind = tuple(rank for rank, row in enumerate(rows) if row[0] < step)
    return Agreement(source=rows.index(furthest), behind=behind, held=Held(step, evaluated))


def heal(exchange: Exchange, replica: Replica, agreement: Agreement) -> bool:
    """Bring every member that is behind to the state of the source. Returns whether this one was.

    Raises:
        PeerLost: a member is gone. A replica that was behind holds its old state, or none that counts.
    """
    if exchange.rank == agreement.source:
        for peer in agreement.behind:
            _give(exchange, replica, peer)
    elif exchange.rank in agreement.behind and agreement.source is not None:
        _take(exchange, replica, agreement.source)
        return True
    return False


def _give(exchange: Exchange, replica: Replica, peer: int) -> None:
    tensors = replica.raw()
    specs = {key: [raw.dtype, list(raw.shape), len(raw.data)] for key, raw in tensors.items()}
    about = json.dumps({"step": replica.step, "tensors": specs, "scalars": replica.scalars()}).encode()
    _send(exchange, peer, [torch.tensor([len(about)], dtype=torch.int64)])
    _send(exchange, peer, [torch.frombuffer(bytearray(about), dtype=torch.uint8)])
    flats = [torch.frombuffer(raw.data, dtype=torch.uint8) for raw in tensors.values() if len(raw.data)]
    for batch in _batches(flats):
        _send(exchange, peer, batch)


def _take(exchange: Exchange, replica: Replica, source: int) -> None:
    length = torch.empty(1, dtype=torch.int64)
    _receive(exchange, source, [length])
    text = torch.empty(int(length.item()), dtype=torch.uint8)
    _receive(exchange, source, [text])
    about: Mapping[str, Any] = json.loads(text.numpy().tobytes())
    flats = {key: torch.empty(size, dtype=torch.uint8) for key, (*_, size) in about["tensors"].items()}
    for batch in _batches(flat for flat in flats.values() if len(flat)):
        _receive(exchange, source, batch)
    tensors = {
        key: RawTensor(dtype=dtype, shape=tuple(shape), data=flats[key].numpy().data)
        for key, (dtype, shape, _) in about["tensors"].items()
    }
    replica.adopt(tensors, about["scalars"], about["step"], own=True)


def _batches(flats: Iterable[Tensor]) -> Iterator[list[Tensor]]:
    """Pieces of byte tensors, in order, in lists of at most `_BATCH_BYTES` in all."""
    batch: list[Tensor] = []
    room = _BATCH_BYTES
    for flat in flats:
        while len(flat):
            batch.append(flat[:room])
            flat, room = flat[room:], room - len(batch[-1])
            if not room:
                yield batch
                batch, room = [], _BATCH_BYTES
    if batch:
        yield batch


def _send(exchange: Exchange, peer: int, tensors: list[Tensor]) -> None:
    exchange.swap({peer: [tensor.to(exchange.device) for tensor in tensors]}, {}, _TAG).wait()
    exchange.flush()


def _receive(exchange: Exchange, peer: int, tensors: list[Tensor]) -> None:
    """Fill these CPU tensors."""
    targets = [tensor.to(exchange.device) for tensor in tensors]  # the same ones, if that is the CPU
    exchange.swap({}, {peer: targets}, _TAG).wait()
    for tensor, target in zip(tensors, targets, strict=True):
        if target is not tensor:
            tensor.copy_(target)
