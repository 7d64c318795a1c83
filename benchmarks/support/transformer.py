"""A plain pre-norm transformer of about five million parameters, the benchmarks' heavier model."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from workers import Recipe

BYTES, WIDTH, LAYERS, HEADS, LENGTH = 256, 256, 6, 4, 64


class Transformer(Recipe):
    """Predicts each byte of a window of `LENGTH + 1`."""

    def build_model(self) -> nn.Module:
        return Model()

    def build_optimizer(self, model: nn.Module) -> torch.optim.Optimizer:
        return torch.optim.AdamW(model.parameters(), lr=1e-3)

    def decode_batch(self, records) -> Tensor:
        column = records.column(0)
        width = column.type.byte_width
        stored = np.frombuffer(column.buffers()[1], dtype=np.uint8)[column.offset * width :]
        windows = stored[: len(column) * width].reshape(-1, width)[:, : LENGTH + 1]
        return torch.from_numpy(windows.astype(np.int64))

    def loss(self, model: nn.Module, batch: Tensor) -> Tensor:
        scores = model(batch[:, :-1])
        return F.cross_entropy(scores.reshape(-1, BYTES), batch[:, 1:].reshape(-1))


class Model(nn.Module):
    """bytes of shape (windows, length) → scores of shape (windows, length, 256)."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens = nn.Embedding(BYTES, WIDTH)
        self.places = nn.Parameter(torch.zeros(LENGTH, WIDTH))
        layer = nn.TransformerEncoderLayer(
            WIDTH, HEADS, 4 * WIDTH, dropout=0.0, batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(layer, LAYERS, enable_nested_tensor=False)
        self.out = nn.Linear(WIDTH, BYTES)
        self.register_buffer("mask", nn.Transformer.generate_square_subsequent_mask(LENGTH), persistent=False)

    def forward(self, batch: Tensor) -> Tensor:
        return self.out(self.layers(self.tokens(batch) + self.places, mask=self.mask, is_causal=True))
