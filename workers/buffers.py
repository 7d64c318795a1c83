"""Module buffers (BatchNorm's running statistics and the like): virtual rank 0's are the step's.

Every virtual rank starts a step from the step's buffers. What virtual rank 0 leaves in them is kept, and reaches
the other workers as plain bytes; what the others leave is dropped. So no bit depends on who hosts whom.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from workers.errors import RecipeError
from workers.exchange import Exchange, broadcast

_TAG = 1


class StepBuffers:
    """Keeps a model's buffers in step.

    Buffers that are not persistent and do not change in the warm-up (masks, position tables) are constants:
    they cost nothing per step, and one that changes later is refused.
    """

    def __init__(self, model: nn.Module) -> None:
        persistent = set(model.state_dict(keep_vars=True))
        self._model = model
        self._versions = {name: buffer._version for name, buffer in model.named_buffers()}
        self._candidates = {name for name in self._versions if name not in persistent}
        self._constant: dict[str, tuple[Tensor, int]] = {}
        self._saved: list[Tensor] = []
        self._kept: list[Tensor] | None = None

    def warmed_up(self) -> None:
        """Call once after the discarded passes: candidates that did not change are constants from now on."""
        self._constant = {
            name: (buffer, buffer._version)
            for name, buffer in self._model.named_buffers()
            if name in self._candidates and buffer._version == self._versions.get(name)
        }

    def begin(self) -> None:
        """Remember the buffers that this step starts from."""
        self._saved = [buffer.clone() for buffer in self._live()]
        self._kept = None

    def after(self, vrank: int) -> None:
        """A virtual rank's forward pass is done: keep what it left if it is number 0, then go back."""
        self._check_constants()
        live = self._live()
        if vrank == 0:
            self._kept = [buffer.clone() for buffer in live]
        _copy(live, self._saved)

    def finish(self, exchange: Exchange, owner: int) -> None:
        """End the step: every worker takes over the buffers of virtual rank 0, hosted by DDP rank `owner`."""
        live = self._live()
        if not live:
            return
        if self._kept is not None:
            _copy(live, self._kept)
        if exchange.world == 1:
            return
        flat = torch.cat([_bytes(buffer) for buffer in live])
        broadcast(exchange, flat, owner, _TAG).wait()
        if exchange.rank != owner:
            parts = flat.split([_bytes(buffer).numel() for buffer in live])
            _copy(live, [part.clone().view(b.dtype).view(b.shape) for part, b in zip(parts, live, strict=True)])

    def restore(self) -> None:
        """Undo all that happened since `begin`."""
        _copy(self._live(), self._saved)

    def _live(self) -> list[Tensor]:
        return [buffer for name, buffer in self._model.named_buffers() if name not in self._constant]

    def _check_constants(self) -> None:
        buffers = dict(self._model.named_buffers()) if self._constant else {}
        for name, (buffer, version) in self._constant.items():
            if buffers.get(name) is not buffer or buffer._version != version:
                raise RecipeError(
                    f"buffer {name} changed in a step, though it is not persistent and did not change at first",
                    fix="register it with persistent=True, so that it is kept in step on all workers",
                )


def _bytes(tensor: Tensor) -> Tensor:
    return tensor.contiguous().reshape(-1).view(torch.uint8)


def _copy(targets: list[Tensor], sources: list[Tensor]) -> None:
    with torch.no_grad():
        for target, source in zip(targets, sources, strict=True):
            target.copy_(source)
