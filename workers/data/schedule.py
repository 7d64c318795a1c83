"""Which samples a step consumes: arithmetic on the step's number, nothing to save or restore."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from workers.data.order import span


@dataclass(frozen=True, kw_only=True)
class StepSlice:
    """What one step reads: virtual rank v takes `[start, start + counts[v])` of its samples of an epoch."""

    epoch: int
    start: int
    counts: tuple[int, ...]


class Steps(Protocol):
    """How training data are cut into steps."""

    @property
    def vranks(self) -> int:
        """Virtual ranks (V)."""

    @property
    def micro_batch(self) -> int:
        """Samples that a virtual rank takes in a full step."""

    def at(self, step: int) -> StepSlice:
        """What step number `step`, counted from 0, reads."""

    def epoch(self, step: int) -> int:
        """Epochs that are over before a step."""

    def steps_together(self, step: int) -> int:
        """Steps from this one on that continue one another: each starts where the one before it stopped."""

    def samples_before(self, step: int) -> int:
        """Samples that the first `step` steps consume, over all virtual ranks."""

    def steps_of(self, epochs: int) -> int:
        """Steps until so many epochs are over."""


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """How the epochs of one data set are cut into steps: see `Steps`.

    Every epoch consumes each sample once. Its last step is short: never padded, never dropped. A virtual
    rank whose span is used up by then gets no samples in it.

    Args:
        rows: samples in an epoch (N), at least 1.
        vranks: virtual ranks (V), at least 1.
        micro_batch: samples that a virtual rank takes in a full step, at least 1.
    """

    rows: int
    vranks: int
    micro_batch: int

    def __post_init__(self) -> None:
        for name in ("rows", "vranks", "micro_batch"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1")

    @property
    def steps_per_epoch(self) -> int:
        """As many as the longest span needs."""
        longest = -(-self.rows // self.vranks)
        return -(-longest // self.micro_batch)

    def at(self, step: int) -> StepSlice:
        """What step number `step`, counted from 0, reads."""
        epoch, number = divmod(step, self.steps_per_epoch)
        start = number * self.micro_batch
        counts = tuple(self._left(vrank, start) for vrank in range(self.vranks))
        return StepSlice(epoch=epoch, start=start, counts=counts)

    def epoch(self, step: int) -> int:
        """Epochs that are over before a step."""
        return step // self.steps_per_epoch

    def steps_together(self, step: int) -> int:
        """Those to the end of its epoch."""
        return self.steps_per_epoch - step % self.steps_per_epoch

    def steps_of(self, epochs: int) -> int:
        """Steps until so many epochs are over."""
        return epochs * self.steps_per_epoch

    def samples_before(self, step: int) -> int:
        """Samples that the first `step` steps consume, over all virtual ranks and epochs."""
        epochs, number = divmod(step, self.steps_per_epoch)
        taken = number * self.micro_batch
        shortest, longer = divmod(self.rows, self.vranks)  # `longer` spans hold one sample more
        partial = (self.vranks - longer) * min(taken, shortest) + longer * min(taken, shortest + 1)
        return epochs * self.rows + partial

    def _left(self, vrank: int, start: int) -> int:
        first, last = span(self.rows, self.vranks, vrank)
        return min(self.micro_batch, max(0, last - first - start))
