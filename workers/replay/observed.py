"""Who watches a step from inside: told where it is, and changing nothing of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from workers.numerics.ddp import GradientReducer
from workers.recipe import Batch, Recipe
from workers.replay.finite import kind_of

Loss = Callable[[nn.Module, Batch], Any]


class Observer:
    """Does nothing, at each of the places where something could be done."""

    def begins(self, vrank: int) -> None:
        """The passes of a virtual rank are next."""

    def call(self, loss: Loss, module: nn.Module, batch: Batch) -> Any:
        """Call the recipe's loss; must return what it returns."""
        return loss(module, batch)

    def scaled(self, factor: float) -> None:
        """What the loss is multiplied by before the backward pass, which is next."""

    def ends(self, vrank: int) -> None:
        """The passes are over."""

    def skipped(self, vrank: int) -> None:
        """A virtual rank has no sample in this step."""

    def reduced(self) -> None:
        """`parameter.grad` is the step's whole gradient, not clipped and not applied yet."""


class Observed:
    """A reducer (`workers.numerics.ddp.GradientReducer`) that tells an observer where the step is."""

    def __init__(self, reducer: GradientReducer, observer: Observer) -> None:
        self._reducer, self._observer = reducer, observer

    @property
    def module(self) -> nn.Module:
        """See `GradientReducer.module`."""
        return self._reducer.module

    def scale(self, count: int, total: int, full: bool) -> float | None:
        """See `GradientReducer.scale`."""
        factor = self._reducer.scale(count, total, full)
        self._observer.scaled(1.0 if factor is None else factor)
        return factor

    @contextmanager
    def passes(self, vrank: int) -> Iterator[None]:
        """See `GradientReducer.passes`."""
        self._observer.begins(vrank)
        with self._reducer.passes(vrank):
            yield
        self._observer.ends(vrank)

    def skip(self, vrank: int) -> None:
        """See `GradientReducer.skip`."""
        self._observer.skipped(vrank)
        self._reducer.skip(vrank)

    def finish(self, divisor: float) -> None:
        """See `GradientReducer.finish`."""
        self._reducer.finish(divisor)
        self._observer.reduced()


@contextmanager
def observing(recipe: Recipe, observer: Observer) -> Iterator[None]:
    """Calls of the recipe's `loss` go through the observer."""
    loss, attributes = recipe.loss, vars(recipe)
    own = attributes.get("loss")  # of this one recipe, and not of its class
    attributes["loss"] = lambda model, batch: observer.call(loss, model, batch)
    try:
        yield
    finally:
        if own is None:
            del attributes["loss"]
        else:
            attributes["loss"] = own


def loss_of(result: Any) -> Any:
    """The loss in what a recipe's `loss` returned."""
    return result[0] if isinstance(result, tuple) else result


class NonFinite(Exception):
    """A step's loss or gradient is not finite; it was broken off before the update."""


class Sentry(Observer):
    """Looks out for the first loss or gradient that is not finite.

    Args:
        model: the replica's.
        goes_on: let such a step be; else it is broken off with `NonFinite`.

    Attributes:
        alarmed: there was such a loss or gradient.
    """

    def __init__(self, model: nn.Module, *, goes_on: bool) -> None:
        self._trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self._goes_on = goes_on
        self.alarmed = False

    def call(self, loss: Loss, module: nn.Module, batch: Batch) -> Any:
        """See `Observer.call`."""
        result = loss(module, batch)
        if not self.alarmed:
            self._check(loss_of(result))
        return result

    def reduced(self) -> None:
        """See `Observer.reduced`."""
        for parameter in self._trained:
            if not self.alarmed:
                self._check(parameter.grad)

    def _check(self, value: Tensor | None) -> None:
        if kind_of(value) is not None:
            self.alarmed = True
            if not self._goes_on:
                raise NonFinite
