"""The warm-up leaves no trace, and finds what is wrong with a recipe before anybody waits for anybody."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.support.local_run import CPU, LocalRun
from workers import Recipe
from workers.training.replica import Replica

ROWS = torch.randn(12, 3, generator=torch.Generator().manual_seed(0))


class Branches(nn.Module):
    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Dropout(0.5))
        self.used, self.aside, self.never = nn.Linear(3, 1), nn.Linear(3, 1), nn.Linear(3, 1)
        self.outputs = outputs

    def forward(self, batch: Tensor) -> Any:
        hidden = self.trunk(batch)
        return (self.used(hidden), self.aside(hidden))[: self.outputs]


class Toy(Recipe):
    outputs = 1

    def build_model(self) -> nn.Module:
        return Branches(self.outputs)

    def build_optimizer(self, model: nn.Module) -> torch.optim.Optimizer:
        return torch.optim.Adam(model.parameters())

    def loss(self, model: nn.Module, batch: Tensor) -> tuple[Tensor, dict[str, Any]]:
        return model(batch)[0].mean(), {"b": 1.0, "a": 2.0}


def test_it_leaves_no_trace_and_shows_what_the_recipe_uses():
    run = LocalRun(Toy(), ROWS, virtual_ranks=4, batch_size=8)
    assert run.replica.digest() == Replica(Toy(), 0, CPU).digest()
    assert [p.grad for p in run.replica.model.parameters()] == [None] * 10
    assert run.warm_up.value_names == ("a", "b")
    assert run.warm_up.unused_parameters == ("aside.weight", "aside.bias", "never.weight", "never.bias")


@pytest.mark.parametrize("outputs", [1, 2])
def test_parameters_that_the_loss_does_not_reach_stay_as_they_are(outputs):
    """Two outputs: the model computes one that the loss ignores."""
    run = LocalRun(Toy(outputs=outputs), ROWS, virtual_ranks=4, batch_size=12)
    before = {name: p.clone() for name, p in run.replica.model.named_parameters()}
    run.runner.run()
    run.runner.run()
    moved = {n for n, p in run.replica.model.named_parameters() if not torch.equal(p, before[n])}
    assert {name.partition(".")[0] for name in moved} == {"trunk", "used"}
