"""What becomes of one job: how far it is, what it holds, what it cost. Pure arithmetic of its own time."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from math import inf

from orchestrator.scheduler.at_work import service
from orchestrator.scheduler.sizes import speed
from orchestrator.scheduler.snapshot import Allocation, Job, JobState
from orchestrator.simulator.setting import Costs, gpus
from orchestrator.simulator.trace import TraceJob

_ONE_GPU = gpus(1)


@dataclass(slots=True)
class Life:
    """A job from its submission to its end.

    Attributes:
        job: as the scheduler sees it.
        left: seconds of work on the trace's number of GPUs, as of `since`.
        rate: seconds of work done in a second.
        since: until when the numbers here are worked out.
        resumes_at: until then it stands still.
        began: when it was started last.
        spots, leaving: workers by node; those that stay, and those that were told to go.
        ticket: of its expected end; an end with another one does not happen.
        productive, overhead, lost: GPU-seconds of progress that counted, of standing still, of progress that
            was lost.
        at_work: seconds, all its stints together.
    """

    trace: TraceJob
    job: Job
    left: float
    rate: float = 0.0
    since: float = 0.0
    resumes_at: float = 0.0
    began: float = 0.0
    spots: dict[str, int] = field(default_factory=dict)
    leaving: dict[str, int] = field(default_factory=dict)
    ticket: int = 0
    productive: float = 0.0
    overhead: float = 0.0
    lost: float = 0.0
    at_work: float = 0.0
    first_start: float | None = None
    ended: float | None = None
    preemptions: int = 0
    resizes: int = 0
    failures: int = 0
    rejected: bool = False

    @property
    def workers(self) -> int:
        """Those that stay."""
        return sum(self.spots.values())

    def allocations(self) -> list[Allocation]:
        """For a snapshot."""
        if not self.leaving:
            return [
                Allocation(job=self.job.id, node=name, workers=count) for name, count in self.spots.items()
            ]
        return [
            Allocation(
                job=self.job.id,
                node=name,
                workers=self.spots.get(name, 0) + self.leaving.get(name, 0),
                leaving=self.leaving.get(name, 0),
            )
            for name in {**self.spots, **self.leaving}
        ]

    def ends_at(self) -> float:
        """When it is done, if nothing comes between."""
        return max(self.since, self.resumes_at) + self.left / self.rate if self.rate else inf

    def live_until(self, now: float) -> None:
        """Work out what it did until now."""
        if self.rate:
            stood = max(0.0, min(now, self.resumes_at) - self.since)
            went = max(0.0, min(now - self.since - stood, self.left / self.rate))
            self.overhead += stood * self.workers
            self.productive += went * self.workers
            self.left -= went * self.rate
        self.since = max(self.since, now)

    def start(self, now: float, spots: dict[str, int], costs: Costs) -> None:
        """All its workers are ordered."""
        pause = costs.restart if self.first_start is not None else costs.start
        self.first_start = now if self.first_start is None else self.first_start
        self.spots, self.began, self.since, self.resumes_at = spots, now, now, now
        self._go_on(now, pause)
        self._change(now, state=JobState.RUNNING, started_at=now)

    def resize(self, now: float, spots: dict[str, int], pause: float) -> None:
        """It has these workers from now on, after a moment in which it stands still."""
        had = service(self.job, self.workers, now)
        self.live_until(now)
        self.spots = spots
        self._go_on(now, pause)
        self.resizes += 1
        self._change(now, attained_service=had)

    def stop(self, now: float) -> None:
        """It saves and stops; until then it holds what it has."""
        had = service(self.job, self.workers, now)
        self._end_stint(now)
        for name, count in self.spots.items():
            self.leaving[name] = self.leaving.get(name, 0) + count
        self.spots = {}
        self._change(now, state=JobState.STOPPING, attained_service=had)

    def stopped(self, now: float) -> None:
        """It has, and waits."""
        self._change(now, state=JobState.PENDING, restarts=self.job.restarts + 1)

    def break_down(self, now: float, costs: Costs, *, nobody_left: bool) -> None:
        """It lost workers that it cannot do without; and its state too, if nobody is left."""
        had = service(self.job, self.workers, now)
        stint = self._end_stint(now)
        if nobody_left and costs.checkpoint_every > 0:
            seconds = min(stint % costs.checkpoint_every, stint)
            gpu_seconds = min(self.productive, seconds * self.workers)
            self.left += min(self.trace.seconds - self.left, seconds * self._rate(self.workers))
            self.productive -= gpu_seconds
            self.lost += gpu_seconds
        self.spots, self.leaving = {}, {}
        self._change(now, state=JobState.PENDING, attained_service=had, restarts=self.job.restarts + 1)

    def end(self, now: float) -> None:
        """It is done."""
        self._end_stint(now)
        self.ended, self.spots, self.leaving = now, {}, {}

    def _end_stint(self, now: float) -> float:
        self.live_until(now)
        self.rate = 0.0
        self.at_work += now - self.began
        self.ticket += 1
        return now - self.began

    def _go_on(self, now: float, pause: float) -> None:
        """With the workers that it has now, when a pause is over that is added to what is left of another."""
        self.resumes_at = max(now, self.resumes_at) + pause
        self.rate = self._rate(self.workers)
        self.ticket += 1

    def _rate(self, workers: int) -> float:
        if workers == self.trace.gpus:
            return 1.0
        return speed(self.job, workers) / speed(self.job, self.trace.gpus)

    def _change(self, now: float, **fields: object) -> None:
        self.job = replace(self.job, version=self.job.version + 1, last_change_at=now, **fields)  # type: ignore[arg-type]


def submitted(trace: TraceJob, costs: Costs) -> Life:
    """A job that has just come."""
    job = Job(
        id=trace.id,
        queue=trace.queue,
        user=trace.user,
        priority=trace.priority,
        submitted_at=trace.submitted_at,
        last_change_at=trace.submitted_at,
        request=_ONE_GPU,
        min_workers=trace.min_workers,
        max_workers=trace.max_workers,
        within=trace.within,
        deadline=None if trace.deadline is None else trace.submitted_at + trace.deadline,
        speed_curve=trace.speedup,
        restart_cost=costs.restart + costs.stop,
    )
    if trace.estimate is not None:  # the scheduler counts on the minimum, and with the start
        slower = speed(job, trace.gpus) / speed(job, trace.min_workers)
        job = replace(job, estimate=trace.estimate * slower + costs.start)
    return Life(trace=trace, job=job, left=trace.seconds, since=trace.submitted_at)
