"""A step that is watched is the step: nothing of it changes, and what is seen is what happened."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.support.local_run import LocalRun
from workers import Recipe
from workers.numerics.randomness import seed_everything
from workers.replay.observed import NonFinite, Observed, Observer, Sentry, observing
from workers.replay.sight import Finding
from workers.replay.watch import Watch
from workers.telemetry import Stopwatch
from workers.training.step import StepRunner

V, ROWS = 4, torch.randn(27, 3, generator=torch.Generator().manual_seed(0))


class Mask(nn.Module):
    """Puts out infinities on purpose."""

    def forward(self, inputs: Tensor) -> Tensor:
        return torch.full_like(inputs, -math.inf)


class Divide(nn.Module):
    def forward(self, inputs: Tensor, by: Tensor) -> Tensor:
        return inputs / by * by


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.mask, self.first, self.norm = Mask(), nn.Linear(3, 5), nn.BatchNorm1d(5)
        self.drop, self.divide, self.last = nn.Dropout(0.3), Divide(), nn.Linear(5, 1)

    def forward(self, inputs: Tensor, by: Tensor) -> Tensor:
        self.mask(inputs)
        return self.last(self.drop(self.divide(torch.relu(self.norm(self.first(inputs))), by)))


class Watched(Recipe):
    """Goes wrong in one way or another where a row begins with this number."""

    row = math.inf
    how = ""

    def build_model(self) -> nn.Module:
        return Net()

    def build_optimizer(self, model: nn.Module) -> torch.optim.Optimizer:
        return torch.optim.AdamW(model.parameters(), lr=0.01)

    def loss(self, model: nn.Module, batch: Tensor) -> tuple[Tensor, dict[str, Any]]:
        bad = batch[:, :1] == self.row
        ones = torch.ones_like(bad, dtype=torch.float32)
        outputs = model(batch, ones - bad.float() if self.how == "output" else ones)
        loss = outputs.square().mean()
        if self.how == "loss":
            loss = loss + torch.log(ones - bad.float()).mean()
        if self.how == "gradient":
            loss = loss + (outputs * ~bad).abs().sqrt().mean()
        return loss, {"rows": len(batch)}


@contextmanager
def observed(run: LocalRun, observer: Observer) -> Iterator[StepRunner]:
    run.ddp.join(run.team.exchange, run.team.hosted)
    with observing(run.replica.recipe, observer):
        yield StepRunner(
            job=run.job,
            replica=run.replica,
            buffers=run.buffers,
            reducer=Observed(run.ddp, observer),
            feed=run.feed,
            schedule=run.schedule,
            team=run.team,
            value_names=run.warm_up.value_names,
            stopwatch=Stopwatch(),
        )


def local(how: str = "", row: int | None = None, rows: Tensor = ROWS) -> LocalRun:
    recipe = Watched(how=how, row=math.inf if row is None else float(rows[row, 0]))
    return LocalRun(recipe, rows, virtual_ranks=V, batch_size=16, max_grad_norm=0.5)


def watch_next(run: LocalRun, **options: Any) -> Watch:
    watch = Watch(run.replica.model, **options)
    with watch.hooked(), observed(run, watch) as runner:
        runner.run()
    return watch


def test_a_watched_step_comes_to_the_same_bits() -> None:
    plain, watched = local(), local()
    for _ in range(4):  # every second step is a short one
        result = plain.runner.run()
        watch = watch_next(watched)
        assert watched.replica.digest() == plain.replica.digest()
        assert watch.first() is None
        assert result.values["grad_norm"] == pytest.approx(
            math.sqrt(sum(norm**2 for norm in watch.gradient_norms.values())), rel=1e-6
        )
    assert "loss" not in vars(watched.replica.recipe)


class Gradients:
    """Keeps those of the virtual ranks."""

    def __init__(self) -> None:
        self.of: dict[tuple[int, str], Tensor] = {}

    def batch(self, vrank: int, batch: Any) -> None: ...

    def inputs(self, vrank: int, inputs: Any) -> None:
        assert inputs.keys() == {"0", "1"}

    def ends(self, vrank: int) -> None: ...

    def gradient(self, vrank: int | None, name: str, gradient: Tensor) -> None:
        if vrank is not None:
            self.of[vrank, name] = gradient.clone()


def test_each_virtual_ranks_gradient_is_that_of_its_own_loss() -> None:
    run, alone = local(), local()
    for _ in range(2):
        step, kept = run.replica.step, Gradients()
        watch = watch_next(run, keeper=kept)
        for vrank, sight in watch.sights.items():
            batch, count = alone.feed.take(step, vrank)
            if not count:
                assert sight.count == 0
                continue
            loss, gradients = by_itself(alone, batch, step, vrank)
            assert sight.loss == loss
            for name, gradient in gradients.items():
                torch.testing.assert_close(kept.of[vrank, name], gradient, rtol=1e-5, atol=1e-7)
                assert sight.gradient_norms[name] == pytest.approx(gradient.norm().item(), rel=1e-5, abs=1e-6)
        alone.runner.run()


def by_itself(run: LocalRun, batch: Tensor, step: int, vrank: int) -> tuple[float, dict[str, Tensor]]:
    model = run.replica.model
    buffers = [buffer.clone() for buffer in model.buffers()]
    seed_everything("step", run.job.seed, step, vrank)
    loss, _ = run.replica.recipe.loss(model, batch)
    names = [name for name, _ in model.named_parameters()]
    gradients = torch.autograd.grad(loss, list(model.parameters()))
    for buffer, before in zip(model.buffers(), buffers, strict=True):
        buffer.copy_(before)
    return loss.item(), dict(zip(names, gradients, strict=True))


#: Virtual rank 2 has rows 13 to 19, and takes four of them in the first step.
@pytest.mark.parametrize(
    ("how", "finding"),
    [
        ("output", Finding(kind="output", name="divide", type="Divide", value="nan")),
        ("loss", Finding(kind="loss", name="", value="inf")),
        ("gradient", Finding(kind="gradient", name="last.bias", value="nan")),
    ],
)
def test_what_goes_wrong_is_named_with_its_place(how: str, finding: Finding) -> None:
    run = local(how, row=14)
    seen: list[Any] = []
    watch = watch_next(run, when_reduced=lambda watch: seen.append((watch.first(), run.replica.step)))
    assert seen == [((2, finding), 0)]
    assert [v for v, sight in watch.sights.items() if sight.finding is not None] == [2]


def test_a_batch_that_is_not_finite_is_what_to_blame() -> None:
    rows = ROWS.clone()
    rows[15, 2] = math.nan
    found = watch_next(local(rows=rows)).first()
    assert found == (2, Finding(kind="batch", name="", value="nan"))


def test_infinities_that_all_virtual_ranks_have_are_meant() -> None:
    """`Mask` comes before everything else that goes wrong."""
    found = watch_next(local("output", row=14)).first()
    assert found is not None
    assert found[1].name == "divide"


def test_a_sum_that_overflows_is_nobodys_fault() -> None:
    """Four times 2e38 is more than a float32 can be."""

    class Steep(Watched):
        def build_model(self) -> nn.Module:
            return nn.Linear(3, 1)

        def loss(self, model: nn.Module, batch: Tensor) -> Any:
            return model(batch * 0.0).mean() * 2e38

    run = LocalRun(Steep(), ROWS, virtual_ranks=V, batch_size=16)
    watch = watch_next(run)
    assert watch.first() == (None, Finding(kind="reduced", name="bias", value="inf"))
    assert all(sight.finding is None for sight in watch.sights.values())


@pytest.mark.parametrize("how", ["output", "loss", "gradient"])
def test_a_sentry_breaks_off_before_the_update_and_the_step_can_be_done_again(how: str) -> None:
    run = local(how, row=14)
    before = run.replica.digest()
    with observed(run, Sentry(run.replica.model, goes_on=False)) as runner, pytest.raises(NonFinite):
        runner.run()
    assert (run.replica.digest(), run.replica.step) == (before, 0)
    watch_next(run)
    plain = local(how, row=14)
    plain.runner.run()
    assert run.replica.digest() == plain.replica.digest()


def test_a_sentry_may_let_it_pass() -> None:
    run, plain = local("output", row=14), local("output", row=14)
    sentry = Sentry(run.replica.model, goes_on=True)
    with observed(run, sentry) as runner:
        runner.run()
    plain.runner.run()
    assert sentry.alarmed
    assert run.replica.digest() == plain.replica.digest()


def test_an_error_in_the_recipe_says_whose_passes_it_was_in() -> None:
    run = local()

    def fail(*_: Any) -> Any:
        raise KeyError("broken")

    failing: Callable[..., Any] = fail
    vars(run.replica.recipe)["loss"] = failing
    with pytest.raises(KeyError) as caught:
        watch_next(run)
    assert caught.value.__notes__ == ["in the passes of virtual rank 0"]
    assert vars(run.replica.recipe)["loss"] is failing
