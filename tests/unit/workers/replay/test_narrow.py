"""The samples that go wrong by themselves are found, and nothing of the state is touched by looking."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.support.datasets import number_set
from tests.support.events import train_job
from workers import Recipe
from workers.data.decoder import Decoder
from workers.protocol import DataSource
from workers.replay.narrow import culprits
from workers.training.replica import Replica
from workers.training.training_data import StoredData, open_training_data

V, MICRO, STEP, VRANK = 4, 5, 1, 2


class Some(Recipe):
    """Samples of these numbers divide by zero."""

    bad: tuple[int, ...] = ()
    mode = "both"

    def build_model(self) -> nn.Module:
        return nn.Sequential(nn.Linear(1, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 1))

    def build_optimizer(self, model: nn.Module) -> torch.optim.Optimizer:
        return torch.optim.SGD(model.parameters(), lr=0.1)

    def decode(self, sample: dict[str, Any], rng: Any) -> Tensor:
        return torch.tensor([sample["number"]])

    def loss(self, model: nn.Module, batch: Tensor) -> Tensor:
        if self.mode == "train" and not model.training:
            return model(batch.float()).mean()
        bad = torch.isin(batch, torch.tensor(self.bad))
        if self.mode == "together" and len(batch) < MICRO:
            bad = torch.zeros_like(bad)
        zeros = (~bad).float()
        if self.mode == "train":
            model[1].eval()
        return (model(batch.float()) * zeros / zeros).mean()


def opened(recipe: Recipe, folder: Any) -> StoredData:
    dataset = number_set(folder, 120)
    train = DataSource(uri=folder.as_uri(), manifest_digest=dataset.manifest.digest, rows=120)
    data = open_training_data(replace(JOB, train=train), Decoder(recipe, seed=0))
    assert isinstance(data, StoredData)
    return data


JOB = train_job(virtual_ranks=V, batch_size=V * MICRO, steps=4)


@pytest.mark.parametrize(
    ("mode", "positions", "said"),
    [("both", (1, 4), "eval"), ("train", (0,), "train"), ("both", (), None), ("together", (2,), None)],
)
def test_those_and_no_others(tmp_path, mode: str, positions: tuple[int, ...], said: str | None) -> None:
    recipe = Some(mode=mode)
    data = opened(recipe, tmp_path)
    addresses = data.addresses(STEP, VRANK)
    numbers = data.read(STEP, addresses).flatten().tolist()
    recipe.bad = tuple(numbers[position] for position in positions)
    replica = Replica(recipe, 0, torch.device("cpu"))
    replica.model.train()
    before, modes = replica.digest(), [module.training for module in replica.model.modules()]
    found = culprits(JOB, replica, data, addresses, STEP, VRANK)
    assert found == (None if said is None else (positions, said))
    assert replica.digest() == before
    assert [module.training for module in replica.model.modules()] == modes
    assert all(parameter.grad is None for parameter in replica.model.parameters())
