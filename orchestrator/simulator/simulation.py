"""A cluster in fake time around the real scheduler: event by event, a plan wherever it could matter."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from math import ceil, inf

from orchestrator.scheduler import Config, Snapshot, plan, recheck
from orchestrator.scheduler.actions import AddNodes, DrainNode, Preempt, Reject, Resize, Start
from orchestrator.scheduler.snapshot import (
    NOTHING_REMEMBERED,
    Allocation,
    Job,
    JobState,
    Placement,
    Reservation,
    Within,
)
from orchestrator.simulator.accidents import Accidents
from orchestrator.simulator.events import Agenda, Boots, Ends, Event, Fails, Left, Notice, Returns, TakenAway
from orchestrator.simulator.ground import Ground
from orchestrator.simulator.life import Life, submitted
from orchestrator.simulator.meter import Meter
from orchestrator.simulator.setting import Setting
from orchestrator.simulator.trace import TraceJob


class Simulation:
    """One policy's run of a trace.

    Args:
        jobs: sorted by their submission.

    Attributes:
        lives: of all jobs that have been submitted.
        impossible: jobs that no state of this cluster could run; they are left out.
        cycles: how often the scheduler was asked.
    """

    def __init__(self, setting: Setting, jobs: Sequence[TraceJob], config: Config) -> None:
        self.setting, self.config = setting, config
        most = _most_workers(setting)
        self.impossible = [job for job in jobs if job.min_workers > most[job.within]]
        left_out = {job.id for job in self.impossible}
        self._coming = [job for job in jobs if job.id not in left_out]
        self._next = 0
        self.now = self._coming[0].submitted_at if self._coming else 0.0
        self.lives: dict[str, Life] = {}
        self.cycles = 0
        self.meter = Meter(self.now)
        self._unfinished = len(self._coming)
        self._live: dict[str, Life] = {}
        self._at_work: dict[str, Life] = {}  # those that hold anything, and what
        self._held: dict[str, list[Allocation]] = {}
        self._waiting: dict[str, Life] = {}
        self._stretchable = 0
        self._ground = Ground(setting.nodes, setting.types)
        self._agenda = Agenda()
        self._accidents = Accidents(setting.faults, setting.seed, self._agenda)
        for node in setting.nodes:
            self._accidents.threaten(node, self.now)
        self._plan_at = inf
        self._reservations: tuple[Reservation, ...] = ()
        self._policy_state = NOTHING_REMEMBERED

    @property
    def possible(self) -> int:
        """How many jobs can run."""
        return len(self._coming)

    def run(self) -> None:
        """To the end of the last job that can run."""
        while self._unfinished:
            at = min(self._next_arrival(), self._agenda.next_at, self._plan_at)
            if at == inf:
                break
            self.meter.until(at, self._ground, waiting=bool(self._waiting))
            self.now = at
            while self._next_arrival() <= at:
                self._arrive(self._coming[self._next])
            while self._agenda.next_at <= at:
                self._happen(self._agenda.pop())
            if self._plan_at <= at:
                self._plan()

    # --- what happens ---

    def _next_arrival(self) -> float:
        return self._coming[self._next].submitted_at if self._next < len(self._coming) else inf

    def _arrive(self, trace: TraceJob) -> None:
        self._next += 1
        life = submitted(trace, self.setting.costs)
        self.lives[trace.id] = self._live[trace.id] = life
        self._waiting[trace.id] = life
        self._stretchable += trace.max_workers > trace.min_workers
        self._look(at_once=False)

    def _happen(self, event: Event) -> None:
        match event:
            case Ends(job=id, ticket=ticket):
                if id in self._live and self._live[id].ticket == ticket:
                    self._end(self._live[id])
            case Left(job=id, spots=spots):
                self._have_left(id, spots)
            case Boots(node=name):
                if self._ground.boots(name, self.now):
                    self._threaten(name)
                    self._look()
            case Notice(node=name) if self._accidents.is_meant(event):
                eta = self.now + self.setting.faults.notice_seconds
                self._ground.goes(name, eta)
                self._agenda.add(eta, TakenAway(name, event.life))
                self._look()
            case Fails(node=name) | TakenAway(node=name) if self._accidents.is_meant(event):
                self._lose(name)
            case Returns(node=name):
                self._ground.add(self._accidents.returned(name), self.now)
                self._threaten(name)
                self._look()

    def _end(self, life: Life) -> None:
        for spots in (life.spots, life.leaving):
            self._ground.give(spots, self.now)
        life.end(self.now)
        self._forget(life)
        self._look(at_once=False)

    def _forget(self, life: Life) -> None:
        self._waiting.pop(life.job.id, None)
        self._note(life)
        del self._live[life.job.id]
        self._stretchable -= life.trace.max_workers > life.trace.min_workers
        self._unfinished -= 1

    def _have_left(self, id: str, spots: dict[str, int]) -> None:
        life = self._live.get(id)
        if life is None:
            return
        for name, count in spots.items():
            gone = min(count, life.leaving.get(name, 0))  # its node may have died meanwhile
            if gone:
                self._ground.give({name: gone}, self.now)
                life.leaving[name] -= gone
                if not life.leaving[name]:
                    del life.leaving[name]
        self._note(life)
        self._if_stopped(life)
        self._look(at_once=any(reservation.firm for reservation in self._reservations))

    def _note(self, life: Life) -> None:
        """What it holds has changed."""
        if life.spots or life.leaving:
            self._at_work[life.job.id], self._held[life.job.id] = life, life.allocations()
        else:
            self._at_work.pop(life.job.id, None)
            self._held.pop(life.job.id, None)

    def _if_stopped(self, life: Life) -> None:
        if life.job.state is JobState.STOPPING and not life.leaving:
            life.stopped(self.now)
            self._waiting[life.job.id] = life

    def _lose(self, name: str) -> None:
        """A node is gone, and what was there. Those who can do with fewer workers go on."""
        node = self._ground.remove(name)
        self._accidents.gone(node, self.now)
        for life in list(self._at_work.values()):
            if name not in life.spots and name not in life.leaving:
                continue
            self._ground.give({name: life.leaving.pop(name, 0)}, self.now)
            rest = {other: count for other, count in life.spots.items() if other != name}
            if len(rest) == len(life.spots):
                self._note(life)
                self._if_stopped(life)
                continue
            life.failures += 1
            self._ground.give({name: life.spots[name]}, self.now)
            if sum(rest.values()) >= life.job.min_workers:
                life.resize(self.now, rest, self.setting.costs.resize)
                self._note(life)
                self._agenda.add(life.ends_at(), Ends(life.job.id, life.ticket))
                continue
            self._ground.give(rest, self.now)
            self._ground.give(life.leaving, self.now)
            life.break_down(self.now, self.setting.costs, nobody_left=not rest)
            self._note(life)
            self._waiting[life.job.id] = life
        self._look()

    def _threaten(self, name: str) -> None:
        node = self._ground.get(name)
        if node is not None:
            self._accidents.threaten(node, self.now)

    # --- the scheduler's turn ---

    def _look(self, *, at_once: bool = True) -> None:
        """Something has changed: plan now, or when the round is over."""
        every = self.setting.round_seconds
        at = self.now if at_once or not every else ceil(self.now / every) * every
        self._plan_at = min(self._plan_at, at)

    def snapshot(self) -> Snapshot:
        """What the scheduler sees now."""
        return Snapshot(
            now=self.now,
            jobs=self._shown(),
            nodes=self._ground.nodes,
            queues=self.setting.queues,
            allocations=tuple([one for held in self._held.values() for one in held]),
            reservations=self._reservations,
            node_types=self.setting.types,
            policy_state=self._policy_state,
            seed=self.setting.seed,
        )

    def _shown(self) -> tuple[Job, ...]:
        depth = self.setting.depth
        if depth is None or len(self._waiting) <= depth:
            return tuple([life.job for life in self._live.values()])
        head = [life.job for life in islice(self._waiting.values(), depth)]
        return (*[life.job for life in self._at_work.values()], *head)

    def _plan(self) -> None:
        self._plan_at = inf
        if not (self._waiting or self._stretchable or self._ground.going or self.setting.types):
            return  # all that is there runs, and cannot run better
        snapshot = self.snapshot()
        found = plan(snapshot, self.config)
        self.cycles += 1
        if found.actions:
            found, dropped = recheck(found, snapshot)
            if dropped:
                raise AssertionError(f"nothing has changed, and yet {dropped[0].why}: {dropped[0].action}")
        for action in found.actions:
            match action:
                case Start():
                    self._start(self._live[action.job], action.placement)
                case Resize():
                    self._resize(self._live[action.job], action.placement)
                case Preempt():
                    self._stop(self._live[action.job])
                case Reject():
                    self._live[action.job].rejected = True
                    self._forget(self._live[action.job])
                case AddNodes():
                    for name in self._ground.order(action, self.now):
                        node = self._ground.get(name)
                        self._agenda.add(node.eta if node and node.eta else self.now, Boots(name))
                case DrainNode():
                    self._ground.remove(action.node)
                    self._accidents.removed(action.node)
        self._reservations, self._policy_state = found.reservations, found.policy_state
        if found.next_wake_at is not None:
            every = self.setting.round_seconds
            wake = ceil(found.next_wake_at / every) * every if every else found.next_wake_at
            self._plan_at = min(self._plan_at, wake)

    def _start(self, life: Life, placement: Placement) -> None:
        spots = {place.node: place.workers for place in placement}
        self._ground.take(spots, self.now)
        self._ground.gang_started(life.job.id)
        life.start(self.now, spots, self.setting.costs)
        del self._waiting[life.job.id]
        self._note(life)
        self._agenda.add(life.ends_at(), Ends(life.job.id, life.ticket))

    def _resize(self, life: Life, placement: Placement) -> None:
        pause, after = self.setting.costs.resize, {place.node: place.workers for place in placement}
        names = {**life.spots, **after}
        change = {name: after.get(name, 0) - life.spots.get(name, 0) for name in names}
        self._ground.take({name: more for name, more in change.items() if more > 0}, self.now)
        goes = {name: -more for name, more in change.items() if more < 0}
        for name, count in goes.items():
            life.leaving[name] = life.leaving.get(name, 0) + count
        if goes:
            self._agenda.add(self.now + pause, Left(life.job.id, goes))
        life.resize(self.now, after, pause)
        self._note(life)
        self._agenda.add(life.ends_at(), Ends(life.job.id, life.ticket))

    def _stop(self, life: Life) -> None:
        life.preemptions += 1
        spots = life.spots
        life.stop(self.now)
        self._note(life)
        self._agenda.add(self.now + self.setting.costs.stop, Left(life.job.id, dict(spots)))


def _most_workers(setting: Setting) -> dict[Within, int]:
    """How many workers all nodes that there may ever be could host, by what these have to share."""
    sizes = [(node.zone, node.capacity.gpu_millis // 1000, 1) for node in setting.nodes]
    for type in setting.types:
        sizes += [(zone, type.capacity.gpu_millis // 1000, type.max_count) for zone in type.zones]
    zones: dict[str, int] = {}
    for zone, size, count in sizes:
        zones[zone] = zones.get(zone, 0) + size * count
    return {
        Within.NODE: max((size for _, size, count in sizes if count), default=0),
        Within.ZONE: max(zones.values(), default=0),
        Within.ANYWHERE: sum(zones.values()),
    }
