"""What came out of a simulation, in numbers. Times are seconds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil

from orchestrator.simulator.life import Life
from orchestrator.simulator.simulation import Simulation


@dataclass(frozen=True, kw_only=True, slots=True)
class Spread:
    """Of many numbers."""

    mean: float
    p50: float
    p99: float
    max: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """One policy's run.

    Attributes:
        jobs, finished, rejected, impossible: how many; impossible ones are too large for the cluster.
        completion: from submission to end.
        queueing: of that, without any workers.
        first_wait: from submission to the first start.
        utilisation: GPU-seconds held by jobs, of those that there were.
        utilisation_waiting: the same while somebody waited.
        goodput: GPU-seconds of progress that counted, of those that there were.
        preemptions, resizes, failures: for each job, on average.
        lost: GPU-seconds of progress that was lost.
        cost: of all nodes, in the unit of their prices.
        deadlines_met: of the jobs that had one; None if none had.
        queue_completion: mean completion, by queue.
        finish_time_ratio: by queue, mean completion over what it would be on the queue's own share of the
            cluster (Mahajan et al., "Themis", NSDI 2020); empty if that was not worked out.
        cycles: how often the scheduler was asked.
    """

    jobs: int
    finished: int
    rejected: int
    impossible: int
    completion: Spread
    queueing: Spread
    first_wait: Spread
    makespan: float
    utilisation: float
    utilisation_waiting: float
    goodput: float
    preemptions: float
    resizes: float
    failures: float
    lost: float
    cost: float
    deadlines_met: float | None
    queue_completion: Mapping[str, float]
    finish_time_ratio: Mapping[str, float] = field(default_factory=dict)
    cycles: int

    @property
    def worst_ratio(self) -> float | None:
        """Of the queue that would gain most by having its share to itself."""
        return max(self.finish_time_ratio.values(), default=None)


def outcome_of(simulation: Simulation, alone: Mapping[str, Mapping[str, float]] | None = None) -> Outcome:
    """The numbers of a simulation that has run.

    Args:
        alone: queue → its jobs' completion on its own share; see `orchestrator.simulator.fairness`.
    """
    lives = list(simulation.lives.values())
    done = [life for life in lives if life.ended is not None]
    completion = {life.job.id: _completion(life) for life in done}
    meter, count = simulation.meter, max(1, len(done))
    with_deadline = [life for life in done if life.job.deadline is not None]
    met = sum((life.ended or 0.0) <= (life.job.deadline or 0.0) for life in with_deadline)
    by_queue: dict[str, list[Life]] = {}
    for life in done:
        by_queue.setdefault(life.job.queue, []).append(life)
    return Outcome(
        jobs=len(lives) + len(simulation.impossible),
        finished=len(done),
        rejected=sum(life.rejected for life in lives),
        impossible=len(simulation.impossible),
        completion=spread(completion.values()),
        queueing=spread(_completion(life) - life.at_work for life in done),
        first_wait=spread((life.first_start or 0.0) - life.job.submitted_at for life in done),
        makespan=max((life.ended or 0.0 for life in done), default=meter.began) - meter.began,
        utilisation=meter.held / meter.there if meter.there else 0.0,
        utilisation_waiting=meter.held_waiting / meter.there_waiting if meter.there_waiting else 0.0,
        goodput=sum(life.productive for life in lives) / meter.there if meter.there else 0.0,
        preemptions=sum(life.preemptions for life in lives) / count,
        resizes=sum(life.resizes for life in lives) / count,
        failures=sum(life.failures for life in lives) / count,
        lost=sum(life.lost for life in lives),
        cost=meter.cost,
        deadlines_met=met / len(with_deadline) if with_deadline else None,
        queue_completion={
            queue: mean([_completion(life) for life in mine]) for queue, mine in sorted(by_queue.items())
        },
        finish_time_ratio=_ratios(completion, alone or {}),
        cycles=simulation.cycles,
    )


def _completion(life: Life) -> float:
    return (life.ended or 0.0) - life.job.submitted_at


def _ratios(completion: Mapping[str, float], alone: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    ratios = {}
    for queue, times in sorted(alone.items()):
        both = [id for id in times if id in completion]
        own = sum(times[id] for id in both)
        if own > 0:
            ratios[queue] = sum(completion[id] for id in both) / own
    return ratios


def mean(numbers: Sequence[float]) -> float:
    """0 for none."""
    return sum(numbers) / len(numbers) if numbers else 0.0


def spread(numbers: Iterable[float]) -> Spread:
    """Percentiles are numbers that occur (nearest rank)."""
    ordered = sorted(numbers)
    if not ordered:
        return Spread(mean=0.0, p50=0.0, p99=0.0, max=0.0)

    def rank(part: float) -> float:
        return ordered[max(0, ceil(part * len(ordered)) - 1)]

    return Spread(mean=mean(ordered), p50=rank(0.5), p99=rank(0.99), max=ordered[-1])
