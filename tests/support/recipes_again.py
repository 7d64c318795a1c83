"""A small recipe that can be made to go wrong: in one sample, or in one process that somebody says so to."""

from __future__ import annotations

import os
from multiprocessing import current_process

import torch
from torch import nn

from workers import Recipe

FLIP = "LOCKSTEP_TEST_FLIP"  # "worker-1:7" or "any:7": the worker's weights are altered after that step


class Scale(nn.Module):
    """Nothing but for a weight of 0, of which it makes NaN."""

    def forward(self, hidden, weight):
        return hidden * (weight / weight)


class Net(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.embed = nn.Linear(2, width)
        self.norm = nn.BatchNorm1d(width)
        self.scale = Scale()
        self.drop = nn.Dropout(0.1)
        self.head = nn.Linear(width, 1)

    def forward(self, inputs, weight):
        hidden = torch.relu(self.norm(self.embed(inputs)))
        return self.head(self.drop(self.scale(hidden, weight)))


class Again(Recipe):
    width = 8
    poison = -1  # the number of the sample that goes wrong
    how = "weight"  # or "root": its gradient alone does; or "alone": only in a batch with others

    def build_model(self):
        return Net(self.width)

    def build_optimizer(self, model):
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
        optimizer.register_step_post_hook(self._flip)
        return optimizer

    def decode(self, sample, rng):
        number = sample["number"]
        inputs = torch.tensor([number % 17, rng.random()], dtype=torch.float32)
        weight = 0.0 if number == self.poison else 1.0
        return {"inputs": inputs, "weight": torch.tensor([weight]), "name": f"number {number}"}

    def loss(self, model, batch):
        weight = batch["weight"]
        healthy = torch.ones_like(weight)
        if self.how == "weight" or (self.how == "alone" and len(weight) > 1):
            healthy = weight
        outputs = model(batch["inputs"], healthy)
        loss = outputs.square().mean()
        if self.how == "root":  # sqrt has an infinite slope at 0, and 0 times that is NaN
            loss = loss + (outputs * (weight == 1.0)).abs().sqrt().mean()
        return loss, {"size": float(len(weight))}

    def _flip(self, optimizer, args, kwargs):
        """Alter a weight in one process, as a chip does that is about to break."""
        worker, _, step = os.environ.get(FLIP, ":0").partition(":")
        parameter = optimizer.param_groups[0]["params"][0]
        here = worker in ("any", current_process().name)
        if here and optimizer.state[parameter]["step"] == int(step):
            with torch.no_grad():
                parameter.view(-1)[3] += 0.125
