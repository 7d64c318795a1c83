"""Which part of a mixture's endless stream a step consumes, and when an epoch of it is over."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from workers.data.pattern import Pattern
from workers.data.schedule import Schedule, Steps, StepSlice
from workers.protocol import DataMixture, DataSource, EpochEnd


@dataclass(frozen=True, kw_only=True)
class StreamSchedule:
    """How a mixture's stream is cut into steps, all of them full: see `workers.data.schedule.Steps`.

    Args:
        pattern: the sources of its samples.
        rows: samples in each source, at least 1.
        vranks: virtual ranks (V), at least 1.
        micro_batch: samples that a virtual rank takes in a step, at least 1.
        epoch_end: what an epoch is, see `workers.protocol.EpochEnd`.
    """

    pattern: Pattern
    rows: tuple[int, ...]
    vranks: int
    micro_batch: int
    epoch_end: EpochEnd

    def at(self, step: int) -> StepSlice:
        """What step number `step`, counted from 0, reads; for the stream, epoch 0 never ends."""
        return StepSlice(epoch=0, start=step * self.micro_batch, counts=(self.micro_batch,) * self.vranks)

    def epoch(self, step: int) -> int:
        """Epochs that are over before a step."""
        samples = np.array([self.samples_before(step)])
        passes = [
            int(self.pattern.drawn(source, samples)[0]) // rows for source, rows in enumerate(self.rows)
        ]
        return max(passes) if self.epoch_end == "first" else min(passes)

    def steps_together(self, step: int) -> int:
        """Steps from this one on that continue one another."""
        return 1 << 62

    def samples_before(self, step: int) -> int:
        """Samples that the first `step` steps consume, over all virtual ranks."""
        return step * self.micro_batch * self.vranks

    def steps_of(self, epochs: int) -> int:
        """Steps until so many epochs are over. The last of them may reach into the next epoch."""
        ends = [self.pattern.position(source, epochs * rows - 1) + 1 for source, rows in enumerate(self.rows)]
        return -(-(min(ends) if self.epoch_end == "first" else max(ends)) // (self.micro_batch * self.vranks))


def cut_into_steps(train: DataSource | DataMixture, vranks: int, micro_batch: int) -> Steps:
    """How a job's training data are cut into steps."""
    if isinstance(train, DataSource):
        return Schedule(rows=train.rows, vranks=vranks, micro_batch=micro_batch)
    return StreamSchedule(
        pattern=Pattern(train.weights),
        rows=tuple(source.rows for source in train.sources),
        vranks=vranks,
        micro_batch=micro_batch,
        epoch_end=train.epoch_end,
    )
