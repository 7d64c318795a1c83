"""A byte-level language model that learns fast on few CPUs: a lookup of the last bytes, then convolutions.

Looking bytes up costs almost no arithmetic, and dilated convolutions (van den Oord et al., 2016) see
further back with each layer: about 66 bytes with the parameters of job.yaml.
"""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from workers import Recipe

BYTES = 256


class ByteModel(Recipe):
    """Predicts each byte of a window from those before it.

    Args:
        width: channels.
        lookback: bytes that are looked up directly.
        dilations: one gated convolution for each, reaching so many bytes back.
        learning_rate: the highest, after the warm-up.
        warmup: steps in which the learning rate rises; it then falls to zero.
        steps: steps of the schedule; the job's own length.
    """

    width: int
    lookback: int
    dilations: list[int]
    learning_rate: float
    warmup: int
    steps: int

    def build_model(self) -> nn.Module:
        """bytes of shape (windows, length) → scores of shape (windows, length, 256)."""
        return nn.Sequential(
            Lookback(self.lookback, self.width),
            *(GatedConvolution(self.width, dilation) for dilation in self.dilations),
            nn.LayerNorm(self.width),
            nn.Linear(self.width, BYTES),
        )

    def build_optimizer(self, model: nn.Module) -> torch.optim.Optimizer:
        """AdamW."""
        return torch.optim.AdamW(
            model.parameters(), lr=self.learning_rate, betas=(0.9, 0.98), weight_decay=0.01
        )

    def build_schedule(self, optimizer: torch.optim.Optimizer) -> torch.optim.lr_scheduler.LRScheduler:
        """A short rise, then a straight fall."""

        def share(step: int) -> float:
            return min((step + 1) / self.warmup, max(0.0, 1 - step / self.steps))

        return torch.optim.lr_scheduler.LambdaLR(optimizer, share)

    def decode_batch(self, records: pa.RecordBatch) -> Tensor:
        """The windows as int64 of shape (windows, length + 1), without a Python object per sample."""
        column = records.column("window")
        width = column.type.byte_width
        stored = np.frombuffer(column.buffers()[1], dtype=np.uint8)
        start = column.offset * width
        windows = stored[start : start + len(column) * width].reshape(-1, width)
        return torch.from_numpy(windows.astype(np.int64))

    def loss(self, model: nn.Module, batch: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Mean cross-entropy in nats; bits per byte are logged."""
        nats = _nats(model, batch, "mean")
        return nats, {"bits_per_byte": nats.detach() / math.log(2)}

    def evaluate(self, model: nn.Module, batch: Tensor) -> dict[str, Tensor]:
        """Bits and bytes."""
        bits = _nats(model, batch, "sum") / math.log(2)
        return {"bits_per_byte": bits, "count": torch.tensor(batch[:, 1:].numel())}


class Lookback(nn.Module):
    """The sum of what each of the last `depth` bytes means at its distance; zeros stand before a window.

    bytes of shape (windows, length) → (windows, length, width).
    """

    def __init__(self, depth: int, width: int) -> None:
        super().__init__()
        self.depth = depth
        self.meanings = nn.Embedding(depth * BYTES, width)
        nn.init.normal_(self.meanings.weight, std=depth**-0.5)

    def forward(self, x: Tensor) -> Tensor:
        """Apply."""
        length = x.shape[1]
        padded = F.pad(x, (self.depth - 1, 0))
        seen = [padded[:, back : back + length] + back * BYTES for back in range(self.depth)]
        total = self.meanings(seen[0])
        for further in seen[1:]:
            total = total + self.meanings(further)
        return total


class GatedConvolution(nn.Module):
    """x + a·σ(b), where a and b see the normalised input here and `dilation` bytes ago.

    (windows, length, width) → the same shape.
    """

    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.dilation = dilation
        self.norm = nn.LayerNorm(width)
        self.convolution = nn.Conv1d(width, 2 * width, 2, dilation=dilation)

    def forward(self, x: Tensor) -> Tensor:
        """Apply."""
        past = F.pad(self.norm(x).transpose(1, 2), (self.dilation, 0))
        return x + F.glu(self.convolution(past), dim=1).transpose(1, 2)


def _nats(model: nn.Module, batch: Tensor, reduction: str) -> Tensor:
    scores: Tensor = model(batch[:, :-1])
    nats: Tensor = F.cross_entropy(scores.flatten(0, 1), batch[:, 1:].flatten(), reduction=reduction)
    return nats
