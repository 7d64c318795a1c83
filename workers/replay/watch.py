"""Sees one step from the inside: losses, outputs of modules and gradients of every virtual rank."""

from __future__ import annotations

import bdb
import pdb
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from workers.recipe import Batch
from workers.replay.finite import first_in, kind_of
from workers.replay.observed import Loss, Observer, loss_of
from workers.replay.sight import Finding, VrankSight


class Keeper(Protocol):
    """Takes what a watch sees in passing; see `workers.replay.keep`."""

    def batch(self, vrank: int, batch: Batch) -> None:
        """What the recipe's `loss` is called with."""

    def inputs(self, vrank: int, inputs: Any) -> None:
        """What the model is called with: positional, then named arguments."""

    def gradient(self, vrank: int | None, name: str, gradient: Tensor) -> None:
        """A parameter's gradient of one virtual rank's loss, or of the step (None)."""

    def ends(self, vrank: int) -> None:
        """There is no more of this virtual rank."""


class Watch(Observer):
    """Watches a step, and changes no bit of it.

    Args:
        model: the replica's.
        stop_at: the virtual rank in whose call of the recipe's `loss` the debugger stops.
        keeper: is given what is to be kept.
        when_reduced: called once the gradient is whole; the state is still that of before the step.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        stop_at: int | None = None,
        keeper: Keeper | None = None,
        when_reduced: Callable[[Watch], None] = lambda watch: None,
    ) -> None:
        self._model, self._stop_at, self._keeper = model, stop_at, keeper
        self._when_reduced = when_reduced
        self.trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self.sights: dict[int, VrankSight] = {}
        self.gradient_norms: dict[str, float] = {}
        self._batches: dict[int, Finding | None] = {}
        self._outputs: dict[int, list[Finding]] = {}
        self._vrank: int | None = None  # None: nobody's passes, so nothing is of interest
        self._factor = 1.0
        self._result: Any = None
        self._norms: dict[str, Tensor] = {}

    @contextmanager
    def hooked(self) -> Iterator[None]:
        """Sees modules and gradients inside the block."""
        with ExitStack() as stack:
            for name, module in self._model.named_modules():
                hook = module.register_forward_hook(partial(self._output, name))
                stack.callback(hook.remove)
            inputs = self._model.register_forward_pre_hook(self._inputs, with_kwargs=True)
            stack.callback(inputs.remove)
            for name, parameter in self.trained.items():
                stack.callback(parameter.register_hook(partial(self._gradient, name)).remove)
            yield

    def begins(self, vrank: int) -> None:
        """See `Observer.begins`."""
        self._vrank, self._norms, self._result = vrank, {}, None
        self._outputs[vrank] = []

    def call(self, loss: Loss, module: nn.Module, batch: Batch) -> Any:
        """See `Observer.call`."""
        if self._vrank is None:
            return loss(module, batch)
        found = first_in(batch)
        self._batches[self._vrank] = (
            Finding(kind="batch", name=found[0], value=found[1]) if found is not None else None
        )
        if self._keeper is not None:
            self._keeper.batch(self._vrank, batch)
        try:
            if self._vrank == self._stop_at:
                self._result = _debugged(loss, module, batch)
            else:
                self._result = loss(module, batch)
        except Exception as error:
            error.add_note(f"in the passes of virtual rank {self._vrank}")
            raise
        return self._result

    def scaled(self, factor: float) -> None:
        """See `Observer.scaled`."""
        self._factor = factor

    def ends(self, vrank: int) -> None:
        """See `Observer.ends`."""
        loss = loss_of(self._result)
        values = self._result[1] if isinstance(self._result, tuple) else {}
        norms = {name: norm.item() for name, norm in self._norms.items()}
        self.sights[vrank] = VrankSight(
            vrank=vrank,
            count=-1,  # the schedule knows
            loss=float(loss.detach()),
            values={name: float(value) for name, value in sorted(values.items())},
            gradient_norms=norms,
            finding=_finding(loss, norms),
        )
        if self._keeper is not None:
            self._keeper.ends(vrank)
        self._vrank = None

    def skipped(self, vrank: int) -> None:
        """See `Observer.skipped`."""
        self.sights[vrank] = VrankSight(vrank=vrank, count=0)

    def reduced(self) -> None:
        """See `Observer.reduced`."""
        for name, parameter in self.trained.items():
            if parameter.grad is not None:
                self.gradient_norms[name] = _norm(parameter.grad).item()
                if self._keeper is not None:
                    self._keeper.gradient(None, name, parameter.grad)
        self._locate()
        self._when_reduced(self)

    def first(self) -> tuple[int | None, Finding] | None:
        """The lowest virtual rank whose loss or gradient is not finite, and where that begins."""
        for vrank, sight in sorted(self.sights.items()):
            if sight.finding is not None:
                return vrank, sight.finding
        for name, norm in self.gradient_norms.items():
            kind = kind_of(norm)
            if kind is not None:
                return None, Finding(kind="reduced", name=name, value=kind)
        return None

    def _locate(self) -> None:
        """Say of each bad loss or gradient where it begins.

        Some batches hold such numbers, and some modules put infinities out, on purpose: those that
        also do so where all is well.
        """
        healthy = [vrank for vrank, sight in self.sights.items() if sight.count and sight.finding is None]
        usual = {found.name for vrank in healthy for found in self._outputs[vrank] if found.value == "inf"}
        batches_are_clean = all(self._batches[vrank] is None for vrank in healthy)
        for vrank, sight in self.sights.items():
            if sight.finding is None:
                continue
            unusual = [f for f in self._outputs[vrank] if f.value == "nan" or f.name not in usual]
            found = unusual[0] if unusual else sight.finding
            batch = self._batches[vrank]
            self.sights[vrank] = replace(sight, finding=batch if batch and batches_are_clean else found)

    def _output(self, name: str, module: nn.Module, inputs: Any, output: Any) -> None:
        if self._vrank is None:
            return
        found = first_in(output)
        if found is not None:
            finding = Finding(kind="output", name=name, type=type(module).__name__, value=found[1])
            self._outputs[self._vrank].append(finding)

    def _inputs(self, module: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
        if self._vrank is not None and self._keeper is not None:
            self._keeper.inputs(self._vrank, {**{str(i): arg for i, arg in enumerate(args)}, **kwargs})

    def _gradient(self, name: str, gradient: Tensor) -> None:
        if self._vrank is None:
            return
        own = gradient / self._factor if self._factor != 1.0 else gradient
        self._norms[name] = _norm(own)
        if self._keeper is not None:
            self._keeper.gradient(self._vrank, name, own)


class _Debugger(pdb.Pdb):
    """Knows whether it was left before the end: `runcall` keeps that to itself."""

    left = False

    def set_quit(self) -> None:
        self.left = True
        super().set_quit()


def _debugged(loss: Loss, module: nn.Module, batch: Batch) -> Any:
    """Call the recipe's loss under the debugger, which stops at its first line.

    Raises:
        BdbQuit: the user left.
    """
    debugger = _Debugger(nosigint=True)
    result = debugger.runcall(loss, module, batch)
    if debugger.left:
        raise bdb.BdbQuit
    return result


def _finding(loss: Tensor, norms: dict[str, float]) -> Finding | None:
    """What a step would suffer from, wherever it begins."""
    kind = kind_of(loss.detach())
    if kind is not None:
        return Finding(kind="loss", name="", value=kind)
    kinds = ((name, kind_of(norm)) for name, norm in norms.items())
    return next((Finding(kind="gradient", name=n, value=kind) for n, kind in kinds if kind), None)


def _norm(gradient: Tensor) -> Tensor:
    """In float64, where the squares of float32 numbers do not overflow."""
    real = torch.view_as_real(gradient) if gradient.is_complex() else gradient
    norm: Tensor = torch.linalg.vector_norm(real.detach(), dtype=torch.float64)
    return norm
