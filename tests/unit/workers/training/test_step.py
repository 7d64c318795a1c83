"""A step is the mean over its samples, whatever they are shared out as; then clip, then update."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.support.local_run import LocalRun
from workers import Recipe
from workers.errors import RecipeError
from workers.training.step import call_loss

ROWS = torch.randn(23, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


class Squares(Recipe):
    """In float64, so that a wrong weight cannot be mistaken for rounding."""

    rate = 0.1

    def build_model(self) -> nn.Module:
        model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)).double()
        self.left_alone = nn.Linear(1, 1).double()
        model.append(self.left_alone)
        return model

    def build_optimizer(self, model: nn.Module) -> torch.optim.Optimizer:
        return torch.optim.SGD([p for n, p in model.named_parameters() if n[0] != "3"], lr=self.rate)

    def build_schedule(self, optimizer: torch.optim.Optimizer) -> Any:
        return torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5)

    def loss(self, model: nn.Module, batch: Tensor) -> tuple[Tensor, dict[str, Any]]:
        loss = model(batch).square().mean()
        return loss, {"first": batch[:, 0].mean(), "rows": len(batch)}


def by_hand(recipe: Squares, model: nn.Module, batch: Tensor, limit: float | None) -> tuple[Tensor, Tensor]:
    """The loss and the gradient norm over all samples of a step at once; updates the model."""
    model.zero_grad()
    loss, _ = recipe.loss(model, batch)
    loss.backward()
    bound = float("inf") if limit is None else limit
    return loss.detach(), torch.nn.utils.clip_grad_norm_(model.parameters(), bound)


@pytest.mark.parametrize("limit", [None, 0.05])
def test_full_short_and_single_sample_batches_are_means_over_their_samples(limit):
    """23 rows, V = 4, micro-batches of 4: after a full step one in which a virtual rank has 1 row."""
    recipe = Squares()
    run = LocalRun(recipe, ROWS, virtual_ranks=4, batch_size=16, max_grad_norm=limit)
    assert [run.schedule.at(step).counts for step in (0, 1)] == [(4, 4, 4, 4), (1, 2, 2, 2)]
    model = copy.deepcopy(run.replica.model)
    parts = [ROWS[v * 23 // 4 : (v + 1) * 23 // 4] for v in range(4)]
    for step in range(4):
        batch = torch.cat([part[:4] if step % 2 == 0 else part[4:] for part in parts])
        loss, norm = by_hand(recipe, model, batch, limit)
        result = run.runner.run()
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if name[0] != "3":
                    assert parameter.grad is not None
                    parameter -= 0.1 * 0.5**step * parameter.grad
        assert result.loss == pytest.approx(loss.item(), rel=1e-12)
        assert result.values["first"] == pytest.approx(batch[:, 0].mean().item(), rel=1e-12)
        assert result.values["learning_rate"] == pytest.approx(0.1 * 0.5**step)
        if limit is None:
            assert "grad_norm" not in result.values
        else:
            assert result.values["grad_norm"] == pytest.approx(norm.item(), rel=1e-12)
        for mine, theirs in zip(run.replica.model.parameters(), model.parameters(), strict=True):
            torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=1e-14)
    assert run.replica.step == 4


@pytest.mark.parametrize("rows", [1, 3, 5])
def test_virtual_ranks_without_a_sample_count_for_nothing(rows):
    """Virtual rank 0 is among them; 1 row: only the last one has it."""
    recipe, data = Squares(), ROWS[:rows]
    run = LocalRun(recipe, data, virtual_ranks=8, batch_size=8)
    assert run.schedule.at(0).counts[0] == 0
    loss, _ = recipe.loss(run.replica.model, data)
    assert run.runner.run().loss == pytest.approx(loss.item(), rel=1e-12)


def test_a_loss_over_micro_batches_of_other_sizes_is_logged_with_their_weights():
    run = LocalRun(Squares(), ROWS, virtual_ranks=4, batch_size=16)
    assert run.runner.run().values["rows"] == 4
    assert run.runner.run().values["rows"] == pytest.approx((1 + 4 + 4 + 4) / 7)


@pytest.mark.parametrize(
    ("returned", "found"),
    [
        (torch.ones(2, requires_grad=True), r"shape \(2,\)"),
        (torch.tensor(1.0), r"shape \(\)"),
        (0.5, "float"),
        (None, "NoneType"),
    ],
)
def test_a_loss_that_is_not_one_trainable_number_is_refused(returned, found):
    class Odd(Recipe):
        def loss(self, model: Any, batch: Any) -> Any:
            return returned

    with pytest.raises(RecipeError, match=f"one trainable number but {found}"):
        call_loss(Odd(), nn.Linear(1, 1), None)
