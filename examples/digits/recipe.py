"""A small convolutional network for 8 × 8 digits, with all that makes equal bits hard to get:
batch normalisation, dropout, random augmentation, AdamW, and a learning-rate schedule."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from workers import Recipe
from workers.media import decode_image

WHITE = 240.0  # the brightest pixel that prepare.py writes


class Digits(Recipe):
    """Ten classes.

    Args:
        width: channels of the first convolution.
        learning_rate: the highest, reached after a tenth of the steps.
        steps: steps of the schedule; the job's own length.
    """

    width: int
    learning_rate: float
    steps: int

    def build_model(self) -> nn.Module:
        """Three convolutions, two poolings, one linear layer."""
        w = self.width
        return nn.Sequential(
            *_convolution(1, w),
            *_convolution(w, 2 * w),
            nn.MaxPool2d(2),
            *_convolution(2 * w, 2 * w),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Dropout(0.3),
            nn.Linear(2 * w * 2 * 2, 10),
        )

    def build_optimizer(self, model: nn.Module) -> torch.optim.Optimizer:
        """AdamW."""
        return torch.optim.AdamW(model.parameters(), lr=self.learning_rate, weight_decay=0.01)

    def build_schedule(self, optimizer: torch.optim.Optimizer) -> torch.optim.lr_scheduler.LRScheduler:
        """One rise and one fall."""
        return torch.optim.lr_scheduler.OneCycleLR(
            optimizer, max_lr=self.learning_rate, total_steps=self.steps + 1, pct_start=0.1
        )

    def decode(self, sample: dict[str, Any], rng: np.random.Generator) -> tuple[Tensor, int]:
        """PNG → (image of shape (1, 8, 8) in 0..1, digit). The digit is the last character of the name."""
        pixels = decode_image(sample["data"], mode="L", name=sample["key"]).astype(np.float32) / WHITE
        digit = int(sample["key"].removesuffix(".png")[-1])
        return torch.from_numpy(pixels[..., 0])[None], digit

    def loss(self, model: nn.Module, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Cross-entropy; the accuracy is logged."""
        images, digits = batch
        scores = model(distort(images))
        return F.cross_entropy(scores, digits), {"accuracy": (scores.argmax(1) == digits).float().mean()}

    def evaluate(self, model: nn.Module, batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
        """Right answers."""
        images, digits = batch
        right = (model(images).argmax(1) == digits).sum()
        return {"accuracy": right, "count": torch.tensor(len(digits))}


def distort(images: Tensor) -> Tensor:
    """Each image turned by up to 0.2 rad, stretched by up to 10 % each way, moved by up to half a pixel."""
    draw = torch.rand(5, len(images), device=images.device) * 2 - 1
    cos, sin = (draw[0] * 0.2).cos(), (draw[0] * 0.2).sin()
    wide, high = 1 + draw[1:3] * 0.1
    right, down = draw[3:5] / 8
    matrices = torch.stack([cos * wide, -sin * high, right, sin * wide, cos * high, down], dim=1)
    grid = F.affine_grid(matrices.view(-1, 2, 3), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, align_corners=False)


def _convolution(inputs: int, outputs: int) -> tuple[nn.Module, ...]:
    return (
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )
