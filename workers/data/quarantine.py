"""What remains of a training set when damaged blocks are left out: every other sample, where it always was.

Which samples a step has decides about its mean, so every worker must count the same. They all leave out the
blocks that their membership names, from the steps on that it names, and no others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from workers.data.permutation import Int64
from workers.data.samples import Samples
from workers.data.schedule import Steps, StepSlice
from workers.protocol import LeftOut


class Quarantine:
    """Which blocks are left out, and from which steps on.

    Args:
        left_out: blocks, in any order.
    """

    def __init__(self, left_out: Sequence[LeftOut] = ()) -> None:
        ordered = sorted(left_out, key=lambda each: each.step)
        self._blocks = np.array([each.block for each in ordered], dtype=np.int64)
        self._steps = np.array([each.step for each in ordered], dtype=np.int64)

    def __bool__(self) -> bool:
        """Whether anything is left out at all."""
        return bool(len(self._blocks))

    def at(self, step: int) -> Int64:
        """The numbers of the blocks that step number `step`, counted from 0, is done without."""
        return self._blocks[: np.searchsorted(self._steps, step + 1, side="right")]


@dataclass(frozen=True, kw_only=True, eq=False)
class RemainingSteps:
    """Steps without the samples of damaged blocks: see `workers.data.schedule.Steps`.

    Epochs and positions are counted as if nothing was left out.

    Args:
        steps: with all samples.
        samples: where they are stored.
        quarantine: what is left out.
    """

    steps: Steps
    samples: Samples
    quarantine: Quarantine

    @property
    def vranks(self) -> int:
        """Virtual ranks (V)."""
        return self.steps.vranks

    @property
    def micro_batch(self) -> int:
        """Samples that a virtual rank takes in a full step."""
        return self.steps.micro_batch

    def at(self, step: int) -> StepSlice:
        """What step number `step`, counted from 0, reads; looks at the address of each of its samples."""
        piece = self.steps.at(step)
        counts, left_out = [], self.quarantine.at(step)
        for vrank, count in enumerate(piece.counts):
            found = self.samples.find(piece.epoch, vrank, piece.start, piece.start + count)
            counts.append(len(found.without(left_out)))
        return replace(piece, counts=tuple(counts))

    def epoch(self, step: int) -> int:
        """Epochs that are over before a step."""
        return self.steps.epoch(step)

    def steps_together(self, step: int) -> int:
        """Steps from this one on that continue one another."""
        return self.steps.steps_together(step)

    def samples_before(self, step: int) -> int:
        """Samples that the first `step` steps consume, those that are left out included."""
        return self.steps.samples_before(step)

    def steps_of(self, epochs: int) -> int:
        """Steps until so many epochs are over."""
        return self.steps.steps_of(epochs)
