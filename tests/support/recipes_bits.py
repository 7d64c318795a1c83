"""A small recipe with everything that can spoil bits: dropout, BatchNorm, AdamW, a schedule, augmentation."""

from __future__ import annotations

import os
import time

import torch
from torch import nn
from torch.nn import functional as F

from workers import Recipe


class Bits(Recipe):
    width = 24
    pause = 0.0  # seconds that each pass takes longer: time for things to happen, without work
    hurry = ""  # a file; as soon as there is one, all has happened
    late, late_pause = 0, 0.0  # how long from so many updates of BatchNorm on: the end waits for what happens

    def build_model(self):
        return nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Dropout(0.2),
            nn.Conv2d(8, self.width, 3),
            nn.BatchNorm2d(self.width),
            nn.GELU(),
            nn.Flatten(),
            nn.Dropout(0.1),
            nn.Linear(4 * self.width, 4),
        )

    def build_optimizer(self, model):
        return torch.optim.AdamW(model.parameters(), lr=0.02, weight_decay=0.05)

    def build_schedule(self, optimizer):
        return torch.optim.lr_scheduler.MultiStepLR(optimizer, milestones=[5, 11], gamma=0.5)

    def decode(self, sample, rng):
        values = torch.frombuffer(bytearray(sample["data"]), dtype=torch.float32)
        noise = torch.from_numpy(rng.standard_normal(16).astype("float32"))
        return (values + 0.05 * noise).view(1, 4, 4), torch.tensor(int(sample["key"].rsplit("-", 1)[1]))

    def loss(self, model, batch):
        inputs, labels = batch
        if self.pause:
            layers = getattr(model, "module", model)  # DDP wraps it
            late = self.late and int(layers[1].num_batches_tracked) >= self.late
            self.take_time(self.late_pause if late else self.pause)
        logits = model(inputs)
        return F.cross_entropy(logits, labels), {"accuracy": (logits.argmax(1) == labels).float().mean()}

    def take_time(self, seconds):
        end = time.monotonic() + seconds
        while not os.path.exists(self.hurry) and (left := end - time.monotonic()) > 0:
            time.sleep(min(left, 0.02))

    def evaluate(self, model, batch):
        inputs, labels = batch
        logits = model(inputs)
        return {
            "loss": F.cross_entropy(logits, labels, reduction="sum"),
            "accuracy": (logits.argmax(1) == labels).sum(),
            "count": torch.tensor(len(labels)),
        }
