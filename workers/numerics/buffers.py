"""Module buffers (BatchNorm's running statistics and the like): virtual rank 0's are the step's.

Every virtual rank starts a step from the step's buffers. What virtual rank 0 leaves in them is kept, and
reaches the other workers as plain bytes; what the others leave is dropped. No bit depends on who hosts whom.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn

from workers.errors import RecipeError
from workers.numerics.exchange import Exchange, broadcast

_TAG = 1


class StepBuffers:
    """Keeps a model's buffers in step.

    Buffers that are not persistent and do not change in the warm-up (masks, position tables) are constants:
    they cost nothing per step, and one that changes later is refused.

    Args:
        model: the replica's model.
    """

    def __init__(self, model: nn.Module) -> None:
        persistent = set(model.state_dict(keep_vars=True))
        self._model = model
        self._candidates = {name for name, _ in model.named_buffers()} - persistent
        self._constant: dict[str, _Seen] = {}
        self._slots: list[_Slot] = []
        self._saved: list[Tensor] = []
        self._kept: list[Tensor] | None = None

    @contextmanager
    def discarded(self) -> Iterator[None]:
        """A pass whose effects are undone; shows which candidates are not constant."""
        self.begin()
        before = self._seen(self._candidates)
        yield
        after = self._seen(self._candidates)
        self._candidates = {name for name in self._candidates if _same(before[name], after.get(name))}
        _copy(self._live(), self._saved)
        self._saved = []

    def settle(self) -> None:
        """After discarded passes, and after a state was adopted: what is still a candidate is constant."""
        self._slots = _slots(self._model)
        self._constant = self._seen(self._candidates)

    def begin(self) -> None:
        """Remember the buffers that this step starts from."""
        self._slots = _slots(self._model)
        self._saved = [buffer.clone() for buffer in self._live()]
        self._kept = None  # virtual rank 0 may have no sample in this step

    def after(self, vrank: int) -> None:
        """A virtual rank's forward pass is done: keep what it left if it is number 0, then go back."""
        if not self._slots:
            return
        self._check_constants()
        live = self._live()
        if vrank == 0:
            self._kept = [buffer.clone() for buffer in live]
        _copy(live, self._saved)

    def abandon(self) -> None:
        """The step was broken off, wherever it was: go back to the buffers that it started from."""
        if self._saved:
            _copy(self._live(), self._saved)

    def keep(self) -> None:
        """The step can no longer be broken off: there is nothing to go back to any more."""
        self._saved = []

    def finish(self, exchange: Exchange, owner: int) -> None:
        """At a step's end every worker takes over the buffers of virtual rank 0, hosted by rank `owner`."""
        live = self._live()
        if not live:
            return
        _copy(live, self._saved if self._kept is None else self._kept)
        if exchange.world == 1:
            return
        flat = torch.cat([_bytes(buffer) for buffer in live])
        broadcast(exchange, flat, owner, _TAG).wait()
        if exchange.rank != owner:
            parts = torch.split(flat, [_bytes(buffer).numel() for buffer in live])
            received = zip(parts, live, strict=True)
            _copy(live, [part.clone().view(like.dtype).view(like.shape) for part, like in received])

    def _live(self) -> list[Tensor]:
        return [slot.buffer for slot in self._slots if slot.name not in self._constant]

    def _seen(self, names: Collection[str]) -> dict[str, _Seen]:
        return {s.name: _Seen(s.buffer, s.buffer._version) for s in self._slots if s.name in names}

    def _check_constants(self) -> None:
        now = self._seen(self._constant)
        for name, seen in self._constant.items():
            if not _same(seen, now.get(name)):
                raise RecipeError(
                    f"buffer {name} changed in a step; it is not persistent and did not change at first",
                    fix="register it with persistent=True, so that it is kept in step on all workers",
                )


class _Slot(NamedTuple):
    """Where a module keeps a buffer: a pass may put another tensor there. Walking all modules takes long."""

    name: str
    kept: dict[str, Tensor | None]
    key: str

    @property
    def buffer(self) -> Tensor:
        """What is there now."""
        buffer = self.kept[self.key]
        if buffer is None:
            raise RecipeError(f"buffer {self.name} was set to None in a step", fix="keep a tensor there")
        return buffer


def _slots(model: nn.Module) -> list[_Slot]:
    """Every buffer once, as `named_buffers` gives them."""
    names = {id(buffer): name for name, buffer in model.named_buffers()}
    return [
        _Slot(names.pop(id(buffer)), module._buffers, key)
        for module in model.modules()
        for key, buffer in module._buffers.items()
        if id(buffer) in names
    ]


class _Seen(NamedTuple):
    """A buffer and how often it had been written to."""

    buffer: Tensor
    version: int


def _same(before: _Seen, after: _Seen | None) -> bool:
    return after is not None and after.buffer is before.buffer and after.version == before.version


def _bytes(tensor: Tensor) -> Tensor:
    return tensor.contiguous().reshape(-1).view(torch.uint8)


def _copy(targets: list[Tensor], sources: list[Tensor]) -> None:
    with torch.no_grad():
        for target, source in zip(targets, sources, strict=True):
            target.copy_(source)
