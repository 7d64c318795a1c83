"""A step is the mean over its samples, whatever they are shared out as; then clip, then update."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.support.groups import Breaking, connected, in_threads
from tests.support.local_run import CPU, LocalRun
from workers import Recipe
from workers.errors import RecipeError, UnreachableError
from workers.numerics.exchange import Alone, Exchange, PeerLost
from workers.training.healing import Held, agree, heal
from workers.training.signals import Signals
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


class Fragile(Squares):
    """All that a step changes: dropout's stream, BatchNorm, AdamW's slots, a schedule."""

    dropout = 0.3

    def build_model(self) -> nn.Module:
        return nn.Sequential(
            nn.Linear(3, 6), nn.BatchNorm1d(6), nn.Dropout(self.dropout), nn.Linear(6, 1)
        ).double()

    def build_optimizer(self, model: nn.Module) -> torch.optim.Optimizer:
        return torch.optim.AdamW(model.parameters(), lr=self.rate)


#: Full steps, then one with 3 rows for each virtual rank: BatchNorm wants more than one.
MANY = torch.randn(44, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
FRAGILE = {"virtual_ranks": 4, "batch_size": 16, "max_grad_norm": 0.5}
ALL = [[0, 1, 2, 3]]
SHARED = [[0, 3], [1], [2]]


def undisturbed(recipe: Recipe, steps: int) -> list[str]:
    """The digests after 0, 1, 2, ... steps."""
    run = LocalRun(recipe, MANY, **FRAGILE)
    found = [run.replica.digest()]
    for _ in range(steps):
        run.runner.run()
        found.append(run.replica.digest())
    return found


def assert_as_after(run: LocalRun, steps: int, digests: list[str]) -> None:
    assert (run.replica.step, run.replica.digest()) == (steps, digests[steps])
    assert [n for n, p in run.replica.model.named_parameters() if p.grad is not None] == []


@pytest.mark.parametrize("after", range(3))
def test_a_step_that_breaks_at_any_exchange_leaves_the_state_as_it_was_and_can_be_redone(after):
    """Losses, then gradients to be added, then sums."""
    digests = undisturbed(Fragile(), 3)
    run = LocalRun(Fragile(), MANY, **FRAGILE)
    run.runner.run()
    broken = Breaking(Alone(CPU), after)
    run.join(broken, ALL)
    with pytest.raises(PeerLost):
        run.runner.run()
    assert broken.swaps > after
    assert_as_after(run, 1, digests)
    run.join(Alone(CPU), ALL)
    for step in (2, 3):
        run.runner.run()
        assert_as_after(run, step, digests)


@pytest.mark.parametrize("vrank", range(4))
def test_a_step_that_is_overtaken_by_a_newer_generation_is_broken_off_before_the_next_micro_batch(vrank):
    digests = undisturbed(Fragile(), 2)
    run = LocalRun(Fragile(), MANY, **FRAGILE)
    run.runner.run()
    looks = iter([False] * vrank + [True])
    run.join(Alone(CPU), ALL, superseded=lambda: next(looks))
    with pytest.raises(PeerLost, match="newer generation"):
        run.runner.run()
    assert_as_after(run, 1, digests)
    run.join(Alone(CPU), ALL)
    run.runner.run()
    assert_as_after(run, 2, digests)


@pytest.mark.parametrize("vrank", range(4))
def test_a_step_whose_data_does_not_come_can_be_redone_too(vrank):
    digests = undisturbed(Fragile(), 2)
    run = LocalRun(Fragile(), MANY, **FRAGILE)
    run.runner.run()
    take = run.feed.take

    def gone(step: int, number: int) -> tuple[Any, int]:
        if number == vrank:
            raise UnreachableError("no answer", where="s3://data")
        return take(step, number)

    run.feed.take = gone
    with pytest.raises(UnreachableError):
        run.runner.run()
    assert_as_after(run, 1, digests)
    run.feed.take = take
    run.join(Alone(CPU), ALL)
    run.runner.run()
    assert_as_after(run, 2, digests)


def attempt(run: LocalRun, exchanges: Sequence[Exchange], rank: int) -> bool:
    """One step, as far as it goes. Who is out of it has all others told, as a supervisor would."""
    run.join(exchanges[rank], SHARED)
    try:
        run.runner.run()
    except PeerLost:
        for exchange in exchanges:
            exchange.abort()
        return False
    return True


def go_on(run: LocalRun, exchange: Exchange, steps: int) -> None:
    """The next generation: agree, heal, and train up to a step."""
    if heal(exchange, run.replica, agree(exchange, Held(run.replica.step))):
        run.buffers.settle()
    run.join(exchange, SHARED)
    while run.replica.step < steps:
        run.runner.run()


@pytest.mark.parametrize("cut", range(3))
@pytest.mark.parametrize("after", range(4))
def test_wherever_three_workers_lose_one_another_they_come_to_the_same_bits(cut, after):
    """Losses, gradients, sums, buffers. Some may have applied the step, and others not."""
    recipe = Fragile(dropout=0.0)  # threads share torch's random stream
    digests = undisturbed(recipe, 3)
    runs = [LocalRun(Fragile(dropout=0.0), MANY, **FRAGILE) for _ in range(3)]
    for run in runs:
        run.runner.run()
    exchanges: list[Exchange] = connected(3)
    exchanges[cut] = Breaking(exchanges[cut], after)
    applied = in_threads([lambda n=n, r=r: attempt(r, exchanges, n) for n, r in enumerate(runs)])
    assert not applied[cut]
    for run, did in zip(runs, applied, strict=True):
        assert_as_after(run, 2 if did else 1, digests)
    in_threads([lambda r=r, e=e: go_on(r, e, 3) for r, e in zip(runs, connected(3), strict=True)])
    for run in runs:
        assert_as_after(run, 3, digests)


def test_a_signal_rides_in_the_step_and_changes_nothing_else():
    digests = undisturbed(Fragile(), 1)
    run = LocalRun(Fragile(), MANY, **FRAGILE)
    assert run.runner.run(Signals(hold=2.0, busy=1.0)).signals == (2.0, 0.0, 1.0)
    assert_as_after(run, 1, digests)
    assert run.runner.run().signals == (0.0, 0.0, 0.0)
