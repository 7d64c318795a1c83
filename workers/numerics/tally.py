"""A step's logged numbers: each virtual rank's loss and values, gathered and folded in tree order.

They travel while the gradients are reduced, and the sums are as exact as the gradients: the same tree, in
float64, on every worker. So all workers know the same losses, whatever their number is. What a worker has to
tell the others for the end of the step (that it was asked to pause, say) rides along as signals.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from numbers import Real
from typing import Any

import torch
from torch import Tensor

from workers.errors import RecipeError
from workers.numerics.exchange import Exchange, Pending, all_gather
from workers.numerics.tree import fold_leaves

_TAG = 0


class Tally:
    """Collects one row per virtual rank: its loss, then its values in name order, times its weight.

    Args:
        exchange: this worker's connection to the other members.
        hosted: virtual ranks by DDP rank.
        names: of the values that the recipe's `loss` returns beside the loss.
        signals: how many there are.

    Attributes:
        signals: after `finish`, of each the highest that a worker has sent.
    """

    def __init__(
        self, exchange: Exchange, hosted: Sequence[Sequence[int]], names: Sequence[str], signals: int = 0
    ) -> None:
        self._exchange, self._hosted, self._names = exchange, hosted, tuple(names)
        self._width = 1 + len(self._names)
        self._on_cpu = exchange.device.type == "cpu"
        self._rows: list[Any] = []  # numbers on the CPU, where they cost nothing to read, else tensors
        self._gathered: dict[int, Tensor] = {}
        self._pending: Pending
        self._silence = (0.0,) * signals
        self.signals = self._silence

    def add(self, loss: Tensor, values: Mapping[str, object], weight: float) -> None:
        """Add the row of the next hosted virtual rank.

        Args:
            loss: one number.
            values: numbers, or tensors with one element.
            weight: its samples, or 1 when all virtual ranks have equally many.

        Raises:
            RecipeError: the values have other names than at first, or are not numbers.
        """
        if tuple(sorted(values)) != self._names:
            raise RecipeError(
                f"loss returned the values {sorted(values)}, at first {list(self._names)}",
                fix="return the same names for every batch",
            )
        row = [loss, *(_number(name, values[name]) for name in self._names)]
        if self._on_cpu:  # the same numbers as tensors would be, for a tenth of the time
            self._rows.append([value.item() * weight for value in row])
        else:
            device = self._exchange.device
            numbers = torch.stack([value.detach().to(device, torch.float64).reshape(()) for value in row])
            self._rows.append(numbers.mul_(weight))

    def add_nothing(self) -> None:
        """The row of a virtual rank without a sample."""
        nothing = [0.0] * self._width
        self._rows.append(nothing if self._on_cpu else self._tensor(nothing))

    def send(self, signals: Sequence[float] = ()) -> None:
        """All own rows are in: exchange them with the other members.

        Args:
            signals: what this worker has to say to the others, numbers of at least 0.
        """
        beside = signals or self._silence
        if self._on_cpu:
            own = self._tensor([*chain.from_iterable(self._rows), *beside])
        else:
            own = torch.cat([*self._rows, self._tensor(beside)])
        count = len(beside)
        self._gathered = {
            rank: own if rank == self._exchange.rank else own.new_empty(len(vranks) * self._width + count)
            for rank, vranks in enumerate(self._hosted)
        }
        self._pending = all_gather(self._exchange, own, self._gathered, _TAG)
        self._rows = []

    def finish(self, divisor: float) -> tuple[float, dict[str, float]]:
        """Mean loss and mean values over the step."""
        self._pending.wait()
        rows: dict[int, list[float]] = {}
        self.signals = self._silence
        for rank, vranks in enumerate(self._hosted):
            numbers = self._gathered[rank].tolist()
            table = [numbers[i * self._width : (i + 1) * self._width] for i in range(len(vranks))]
            rows |= dict(zip(vranks, table, strict=True))
            self.signals = tuple(map(max, self.signals, numbers[len(vranks) * self._width :]))
        totals = fold_leaves([rows[vrank] for vrank in sorted(rows)], _add)
        loss, *values = (total / divisor for total in totals)
        return loss, dict(zip(self._names, values, strict=True))

    def _tensor(self, numbers: Sequence[float]) -> Tensor:
        return torch.tensor(numbers, dtype=torch.float64, device=self._exchange.device)


def _number(name: str, value: object) -> Tensor:
    if isinstance(value, Real):
        return torch.tensor(float(value), dtype=torch.float64)
    if isinstance(value, Tensor) and value.numel() == 1:
        return value
    shape = f" of shape {tuple(value.shape)}" if isinstance(value, Tensor) else ""
    fix = "return numbers, or tensors with one element"
    raise RecipeError(f"loss returned a {type(value).__name__}{shape} as value {name}", fix=fix)


def _add(left: list[float], right: list[float]) -> list[float]:
    return [a + b for a, b in zip(left, right, strict=True)]
