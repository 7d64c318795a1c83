"""What the jobs train: many chunks, some of which never change."""

import torch

from tests.kills.fatal import arm
from workers import Recipe
from workers.checkpoint import layout

layout._CHUNK_BYTES_MIN = 1 << 15
arm()


class Net(Recipe):
    def build_model(self):
        frozen = torch.nn.Linear(64, 256).requires_grad_(False)
        return torch.nn.Sequential(frozen, torch.nn.BatchNorm1d(256), torch.nn.Linear(256, 64))

    def build_optimizer(self, model):
        return torch.optim.AdamW(model.parameters())

    def loss(self, model, batch):
        rows = torch.randn(8, 64)
        return (model(rows) - rows).square().mean()
