"""One step: V micro-batches, one reduced gradient, one update."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from workers.data.schedule import Steps
from workers.errors import RecipeError
from workers.numerics.buffers import StepBuffers
from workers.numerics.ddp import GradientReducer
from workers.numerics.exchange import Exchange, PeerLost
from workers.numerics.randomness import seed_everything
from workers.numerics.tally import Tally
from workers.protocol import Activity, TrainJob
from workers.recipe import Batch, Recipe
from workers.telemetry import Stopwatch
from workers.training.replica import Replica
from workers.training.signals import Signals


class Feed(Protocol):
    """Where micro-batches come from."""

    def take(self, step: int, vrank: int) -> tuple[Batch | None, int]:
        """The micro-batch of a virtual rank in a step (counted from 0), and how many samples it has."""


_SILENCE = Signals()


@dataclass(frozen=True, kw_only=True)
class StepResult:
    """What a step leaves behind for the log; equal on all workers."""

    loss: float
    values: Mapping[str, float]
    signals: Signals = _SILENCE  # what the workers had to say to one another


@dataclass(frozen=True, kw_only=True)
class Team:
    """This worker's place in a generation: its connection, and who hosts which virtual ranks."""

    exchange: Exchange
    hosted: Sequence[Sequence[int]]
    superseded: Callable[[], bool] = lambda: False

    @property
    def own(self) -> Sequence[int]:
        """The virtual ranks of this worker, ascending."""
        return self.hosted[self.exchange.rank]

    def check(self) -> None:
        """Between two pieces of work that nobody can interrupt.

        Raises:
            PeerLost: there is a newer generation, so what this one does is of no use.
        """
        if self.superseded():
            raise PeerLost("a newer generation")

    @property
    def first_owner(self) -> int:
        """The DDP rank that hosts virtual rank 0."""
        return next(rank for rank, vranks in enumerate(self.hosted) if 0 in vranks)


class StepRunner:
    """Runs steps of one generation on one worker.

    Args:
        settle: returns when the replica's state may be changed.
    """

    def __init__(
        self,
        *,
        job: TrainJob,
        replica: Replica,
        buffers: StepBuffers,
        reducer: GradientReducer,
        feed: Feed,
        schedule: Steps,
        team: Team,
        value_names: Sequence[str],
        stopwatch: Stopwatch,
        settle: Callable[[], None] = lambda: None,
    ) -> None:
        self._job, self._replica, self._buffers, self._reducer = job, replica, buffers, reducer
        self._feed, self._schedule, self._team, self._stopwatch = feed, schedule, team, stopwatch
        self._settle = settle
        self._tally = Tally(team.exchange, team.hosted, value_names, signals=len(Signals()))
        self._trained = [p for p in replica.model.parameters() if p.requires_grad]

    def run(self, signals: Signals = _SILENCE) -> StepResult:
        """The replica's next step. All that it depends on is the replica's state and the step's number.

        Args:
            signals: what this worker has to say to the others.

        Raises:
            PeerLost: another member is gone. The replica is as before the step.
        """
        try:
            return self._run(signals)
        except Exception:
            self._buffers.abandon()
            self._replica.model.zero_grad(set_to_none=True)
            raise

    def _run(self, signals: Signals) -> StepResult:
        counts = self._schedule.at(self._replica.step).counts
        total = sum(counts)
        full = all(count == self._job.micro_batch for count in counts)
        self._buffers.begin()
        for vrank in self._team.own:
            self._team.check()
            with self._stopwatch.within(Activity.DATA_WAIT):
                batch, count = self._feed.take(self._replica.step, vrank)
            if count:
                self._pass(vrank, batch, count, total, full)
            else:
                self._tally.add_nothing()
                self._reducer.skip(vrank)
        self._tally.send(signals)
        return self._update(divisor=self._job.virtual_ranks if full else max(total, 1))

    def _pass(self, vrank: int, batch: Batch, count: int, total: int, full: bool) -> None:
        """Forward and backward pass of one virtual rank; its mean loss counts for its samples."""
        seed_everything("step", self._job.seed, self._replica.step, vrank)
        with self._reducer.passes(vrank):
            loss, values = call_loss(self._replica.recipe, self._reducer.module, batch)
            self._tally.add(loss, values, 1.0 if full else float(count))
            scale = self._reducer.scale(count, total, full)
            (loss if scale is None else loss * scale).backward()
        self._buffers.after(vrank)

    def _update(self, divisor: float) -> StepResult:
        """Reduce, clip, apply: in this order, so that clipping sees the gradient of the whole batch."""
        replica = self._replica
        with self._stopwatch.within(Activity.REDUCE_WAIT):
            self._reducer.finish(divisor)
            loss, values = self._tally.finish(divisor)
            self._buffers.finish(self._team.exchange, self._team.first_owner)
            self._team.exchange.flush()
        self._buffers.keep()
        if self._job.max_grad_norm is not None:
            norm = torch.nn.utils.clip_grad_norm_(self._trained, self._job.max_grad_norm)
            values["grad_norm"] = norm.item()
        values["learning_rate"] = float(replica.optimizer.param_groups[0]["lr"])
        with self._stopwatch.within(Activity.CHECKPOINT_STALL):
            self._settle()  # a save may still be copying what it changes
        replica.optimizer.step()
        replica.model.zero_grad(set_to_none=True)  # also of parameters that the optimizer leaves alone
        if replica.schedule is not None:
            replica.schedule.step()
        replica.step += 1
        return StepResult(loss=loss, values=values, signals=Signals(*self._tally.signals))


def call_loss(recipe: Recipe, module: torch.nn.Module, batch: Batch) -> tuple[Tensor, dict[str, Any]]:
    """The recipe's loss and extra values, with its contract checked."""
    result = recipe.loss(module, batch)
    loss, values = result if isinstance(result, tuple) else (result, {})
    if not isinstance(loss, Tensor) or loss.numel() != 1 or not loss.requires_grad:
        found = f"shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else type(loss).__name__
        raise RecipeError(
            f"loss did not return one trainable number but {found}",
            fix="return the mean over the micro-batch, a tensor with one element that depends on the model",
        )
    return loss, values
