"""The goodput ledger: every worker-second is in exactly one `Activity`; together they are what elapsed.

Workers say where their seconds went (`Event.clock`, cumulative since their process began). The ledger adds
what no worker can know: the time before there was a process, the time since a worker last said something,
and which work counted. Three rules decide that:

- Work on a step is *productive* once the step is committed: a living worker has applied it, or a checkpoint
  holds it. Until then it is `idle`, with all else that is not accounted for yet; at most a step or so.
- Work on a step that nobody holds any more is `redone`, also when it had counted before.
- Seconds that a training worker never reported because it was lost are `redone` too.

So `productive` can fall, when work is thrown away. That is meant: it is what the job could lose no more.
"""

from __future__ import annotations

from array import array
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from workers.protocol import (
    Activity,
    Broken,
    Damaged,
    Event,
    Failed,
    Finished,
    Formed,
    Parked,
    Ready,
    StepDone,
)


@dataclass(frozen=True, kw_only=True)
class Goodput:
    """The ledger at one instant: worker-seconds by category (all of them, zeros too), and their sum."""

    seconds: Mapping[Activity, float]
    elapsed: float

    def share(self, activity: Activity, of: Collection[Activity] = tuple(Activity)) -> float:
        """The part of the worker-seconds in the categories `of`, 0..1, that went into `activity`."""
        whole = sum(self.seconds[category] for category in of)
        return self.seconds[activity] / whole if whole else 0.0

    def to_json(self) -> dict[str, float]:
        """`{category: seconds, ..., "elapsed": seconds}`."""
        return {**{activity.value: self.seconds[activity] for activity in Activity}, "elapsed": self.elapsed}


class Ledger:
    """One job's worker-seconds. Not thread-safe.

    All times are seconds by one clock, the caller's; one that runs backwards is taken to stand still.
    Workers' own clocks are only used for durations, so they need not agree with it.
    """

    def __init__(self) -> None:
        self._now = float("-inf")
        self._accounts: dict[str, _Account] = {}
        self._past: dict[Activity, float] = dict.fromkeys(Activity, 0.0)
        self._past_elapsed = 0.0
        self._gone: set[str] = set()
        self._work = _Work()
        self._durable = 0
        self._generation, self._formed_at = -1, 0

    def queued(self, workers: Iterable[str], now: float) -> None:
        """From `now` on the job waits for a place for each of `workers`."""
        now = self._advance(now)
        for worker in workers:
            self._gone.discard(worker)
            self._accounts[worker] = _Account(opened=now)

    def placed(self, workers: Iterable[str], now: float) -> None:
        """`workers` have their places; their processes start."""
        now = self._advance(now)
        for worker in workers:
            self._accounts[worker].placed = now

    def observe(self, event: Event, now: float) -> None:
        """Take a worker's report, which arrived at `now`.

        A worker that was never queued is adopted: it counts from the time its process began. Reports of a
        worker that is lost, or that a later report of the same worker has overtaken, change nothing.
        """
        now = self._advance(now)
        if event.worker in self._gone:
            return
        account = self._accounts.setdefault(event.worker, _Account(opened=now, placed=now))
        self._book(account, event, account.report(event.clock, now))
        self._follow(account, event)

    def checkpointed(self, step: int) -> None:
        """A checkpoint of `step` is durable: the work up to it cannot be lost any more."""
        self._durable = max(self._durable, step)
        self._past[Activity.PRODUCTIVE] += self._work.forget(self._durable)

    def lost(self, worker: str, now: float) -> None:
        """`worker` is gone. When nobody else holds the state, so is all work since the last checkpoint.

        A worker that is gone already, or that nobody knew, changes nothing.
        """
        now = self._advance(now)
        if worker not in self._accounts:
            return
        self._close(worker, now)
        if all(account.applied is None for account in self._accounts.values()):
            self._past[Activity.REDONE] += self._work.discard(self._durable)

    def released(self, worker: str, now: float) -> None:
        """`worker` was let go at a boundary: nothing that it did is lost."""
        now = self._advance(now)
        if worker in self._accounts:
            self._close(worker, now, Activity.IDLE)

    def ended(self, now: float, *, kept: bool) -> None:
        """The job is over.

        Args:
            now: the time that the ledger stops at.
            kept: whether the last state counts (the job is done), or only the last checkpoint.
        """
        now = self._advance(now)
        keep = self._committed() if kept else self._durable
        for worker in list(self._accounts):
            self._close(worker, now)
        self._past[Activity.REDONE] += self._work.discard(keep)
        self.checkpointed(keep)

    def totals(self, now: float) -> Goodput:
        """Where all worker-seconds until `now` have gone. Never less, in all, than an earlier answer."""
        now = self._advance(now)
        seconds = dict(self._past)
        for account in self._accounts.values():
            account.add_to(seconds, now)
        pending = self._work.after(self._committed())
        seconds[Activity.PRODUCTIVE] += self._work.total - pending
        seconds[Activity.IDLE] += pending
        elapsed = self._past_elapsed + sum(now - account.opened for account in self._accounts.values())
        return Goodput(seconds=seconds, elapsed=elapsed)

    def _advance(self, now: float) -> float:
        self._now = max(self._now, now)
        return self._now

    def _committed(self) -> int:
        applied = (account.applied for account in self._accounts.values() if account.applied is not None)
        return max(applied, default=self._durable)

    def _book(self, account: _Account, event: Event, productive: float) -> None:
        """Productive seconds since the last report go to the step they were spent on."""
        step = event.step if isinstance(event, StepDone) else (account.applied or 0) + 1
        stale = account.generation < self._generation
        if isinstance(event, Formed) and event.generation > self._generation:
            self._enter(event)
            stale = account.generation >= 0
        if step <= self._durable:
            self._past[Activity.PRODUCTIVE] += productive
        elif stale and step > self._formed_at:
            self._past[Activity.REDONE] += productive
        else:
            self._work.add(step, productive)

    def _enter(self, event: Formed) -> None:
        """A new generation goes on from `event.step`; what was done beyond it is thrown away."""
        self._generation, self._formed_at = event.generation, event.step
        self._past[Activity.REDONE] += self._work.discard(event.step)

    def _follow(self, account: _Account, event: Event) -> None:
        if isinstance(event, Formed):
            account.applied, account.generation = event.step, event.generation
            account.training, account.unreported = True, Activity.IDLE
        elif isinstance(event, StepDone):
            account.applied = event.step
        elif isinstance(event, Ready):
            account.unreported = Activity.STARTUP
        elif isinstance(event, (Failed, Broken, Damaged)):
            account.training, account.unreported = False, Activity.RECOVERY
        elif isinstance(event, (Finished, Parked)):
            account.training, account.unreported = False, Activity.IDLE

    def _close(self, worker: str, now: float, unreported: Activity = Activity.REDONE) -> None:
        account = self._accounts.pop(worker)
        self._gone.add(worker)
        if account.training:
            account.unreported = unreported
        account.add_to(self._past, now)
        self._past_elapsed += now - account.opened


@dataclass
class _Account:
    """One worker's seconds, but for its productive ones: those belong to steps (`_Work`).

    Attributes:
        began: when its process began, by the ledger's clock. A report that took long to arrive makes it look
            later than it was, so the earliest estimate is kept.
        unreported: what the seconds since the last report count as.
        training: whether seconds that are never reported were spent on steps that have to be redone.
        applied: the last step whose state it holds; None as long as it holds none.
    """

    opened: float
    placed: float | None = None
    began: float | None = None
    clock: Mapping[Activity, float] = field(default_factory=dict)
    reported: float = 0.0
    unreported: Activity = Activity.STARTUP
    training: bool = False
    applied: int | None = None
    generation: int = -1

    def report(self, clock: Mapping[Activity, float], now: float) -> float:
        """Take a cumulative clock; returns the productive seconds that are new in it."""
        reported = sum(clock.values())
        if not clock or reported < self.reported:
            return 0.0
        productive = clock.get(Activity.PRODUCTIVE, 0.0) - self.clock.get(Activity.PRODUCTIVE, 0.0)
        self.began = now - reported if self.began is None else min(self.began, now - reported)
        self.opened = min(self.opened, self.began)
        self.placed = self.began if self.placed is None else min(self.placed, self.began)
        self.clock, self.reported = dict(clock), reported
        return productive

    def add_to(self, seconds: dict[Activity, float], now: float) -> None:
        """Add what this worker's time until `now` went into."""
        placed = now if self.placed is None else self.placed
        began = now if self.began is None else self.began
        seconds[Activity.QUEUED] += placed - self.opened
        seconds[Activity.STARTUP] += began - placed
        for activity, spent in self.clock.items():
            if activity is not Activity.PRODUCTIVE:
                seconds[activity] += spent
        seconds[self.unreported] += now - began - self.reported


class _Work:
    """Productive seconds, over all workers, by the step they were spent on, from the last durable step on.

    Eight bytes a step, so that a job without checkpoints can run for long.
    """

    def __init__(self) -> None:
        self._base = 0
        self._seconds = array("d")
        self.total = 0.0

    def add(self, step: int, seconds: float) -> None:
        missing = step - self._base - len(self._seconds)
        if missing > 0:
            self._seconds.extend([0.0] * missing)
        self._seconds[step - self._base - 1] += seconds
        self.total += seconds

    def after(self, step: int) -> float:
        """Seconds spent on steps later than `step`."""
        return sum(self._seconds[max(0, step - self._base) :])

    def discard(self, step: int) -> float:
        """Take out all work on steps later than `step`."""
        taken = self.after(step)
        del self._seconds[max(0, step - self._base) :]
        self.total = sum(self._seconds)
        return taken

    def forget(self, step: int) -> float:
        """Take out all work on steps up to `step`; none will be added to them."""
        if step <= self._base:
            return 0.0
        taken = sum(self._seconds[: step - self._base])
        del self._seconds[: step - self._base]
        self._base, self.total = step, sum(self._seconds)
        return taken
