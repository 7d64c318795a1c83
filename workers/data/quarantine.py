"""What remains of a training set when damaged blocks are left out: every other sample, where it always was.

Which samples a step has decides about its mean, so every worker must count the same. They all leave out the
blocks that their membership names, and no others.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from workers.data.permutation import Int64
from workers.data.samples import Samples
from workers.data.schedule import Steps, StepSlice


@dataclass(frozen=True, kw_only=True, eq=False)
class RemainingSteps:
    """Steps without the samples of damaged blocks: see `workers.data.schedule.Steps`.

    Epochs and positions are counted as if nothing was left out.

    Args:
        steps: with all samples.
        samples: where they are stored.
        left_out: numbers of blocks.
    """

    steps: Steps
    samples: Samples
    left_out: Int64

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
        counts = []
        for vrank, count in enumerate(piece.counts):
            found = self.samples.find(piece.epoch, vrank, piece.start, piece.start + count)
            counts.append(len(found.without(self.left_out)))
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
