"""How fast a job goes: its step times as a histogram, and its recent progress as a rate."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, replace

#: Upper bounds of the step-time histogram's buckets, in seconds; one more bucket is open-ended.
BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)

_SPACING = 1.0  # seconds between two marks
_MARKS_MAX = 30


@dataclass(frozen=True, kw_only=True)
class Mark:
    """A point of a job's life: so many steps and samples at that time (seconds since the epoch)."""

    time: float
    step: int
    samples: int


@dataclass(frozen=True, kw_only=True)
class Pace:
    """A fold over committed steps.

    Attributes:
        buckets: steps by step time, one count for each of `BOUNDS` and one for what is above them.
        step_seconds: sum of all step times.
        first: the first committed step of this run.
        last: the latest one.
        recent: some thirty marks a second or more apart, oldest first: what rates are taken over.
    """

    buckets: tuple[int, ...] = (0,) * (len(BOUNDS) + 1)
    step_seconds: float = 0.0
    first: Mark | None = None
    last: Mark | None = None
    recent: tuple[Mark, ...] = ()

    @property
    def steps(self) -> int:
        """Steps counted so far, those done twice twice."""
        return sum(self.buckets)

    def stepped(self, mark: Mark, seconds: float) -> Pace:
        """One more step, which took `seconds` and was done at `mark`."""
        bucket = bisect_left(BOUNDS, seconds)
        recent = self.recent
        if not recent or mark.time - recent[-1].time >= _SPACING:
            recent = (*recent[-_MARKS_MAX + 1 :], mark)
        return replace(
            self,
            buckets=(*self.buckets[:bucket], self.buckets[bucket] + 1, *self.buckets[bucket + 1 :]),
            step_seconds=self.step_seconds + seconds,
            first=self.first or mark,
            last=mark,
            recent=recent,
        )

    def interrupted(self) -> Pace:
        """Forget the recent past: after a new generation it says nothing about the speed."""
        return replace(self, recent=())

    def steps_per_second(self) -> float | None:
        """Wall-clock rate of the last half minute, evaluation and saving included; None when unknown."""
        rates = self.recent and _rates(self.recent[0], self.last)
        return rates[0] if rates else None

    def samples_per_second(self) -> float | None:
        """As `steps_per_second`, in samples over all workers."""
        rates = self.recent and _rates(self.recent[0], self.last)
        return rates[1] if rates else None

    def seconds_left(self, steps: int) -> float | None:
        """Estimated seconds until step `steps` is done; None when unknown."""
        rate = self.steps_per_second()
        return (steps - self.last.step) / rate if self.last is not None and rate else None

    def throughput(self) -> tuple[float, float] | None:
        """Steps and samples per second from the first committed step to the last; None for fewer than two."""
        return _rates(self.first, self.last)


def _rates(start: Mark | None, end: Mark | None) -> tuple[float, float] | None:
    if start is None or end is None or end.time <= start.time:
        return None
    seconds = end.time - start.time
    return (end.step - start.step) / seconds, (end.samples - start.samples) / seconds
