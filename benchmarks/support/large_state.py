"""A model whose state is large for the work that it makes: what is to be seen is what saving costs."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from workers import Recipe

WIDTH, LAYERS, BATCH = 2048, 8, 8  # 33.6 M parameters; with AdamW's two moments, 101 M float32 values


class LargeState(Recipe):
    """Fits random targets."""

    def build_model(self) -> nn.Module:
        layers = [part for _ in range(LAYERS) for part in (nn.Linear(WIDTH, WIDTH), nn.ReLU())]
        return nn.Sequential(*layers)

    def build_optimizer(self, model: nn.Module) -> torch.optim.Optimizer:
        return torch.optim.AdamW(model.parameters(), lr=1e-4)

    def loss(self, model: nn.Module, batch: object) -> Tensor:
        rows = torch.randn(BATCH, WIDTH)
        return (model(rows) - rows).square().mean()
