"""A cluster made of numbers around the real scheduler: jobs come and end, orders take a while, nodes die.

It knows what jobs really take, carries out what `recheck` leaves of each plan, and checks on the way what
must be
true at every moment: nothing is given out twice, gangs are whole, limits hold.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from orchestrator.scheduler import Config, Plan, Snapshot, plan, recheck
from orchestrator.scheduler.actions import AddNodes, DrainNode, Preempt, Reject, Resize, Start
from orchestrator.scheduler.at_work import service
from orchestrator.scheduler.queues import covers, minus, needs
from orchestrator.scheduler.snapshot import (
    Allocation,
    Job,
    JobState,
    Node,
    NodeState,
    NodeType,
    Placement,
    PolicyState,
    Queue,
    Reservation,
    Resources,
    Within,
)


def gpus(count: int) -> Resources:
    """A worker, or a node, with so many GPUs, and two CPUs for each."""
    return Resources(cpu_millis=2000 * count, gpu_millis=1000 * count, memory_mib=1024 * count)


def job(id: str, workers: int = 1, most: int | None = None, **fields: object) -> Job:
    """A pending job of one-GPU workers."""
    defaults = {"queue": "q", "submitted_at": 0.0, "request": gpus(1)}
    known = {"min_workers": workers, "max_workers": most or workers}
    return Job(id=id, **{**defaults, **known, **fields})  # type: ignore[arg-type]


def node(id: str, size: int = 8, **fields: object) -> Node:
    """A node of so many GPUs that is up."""
    return Node(**{"id": id, "capacity": gpus(size), **fields})  # type: ignore[arg-type]


def running(job: Job, since: float = 0.0, **fields: object) -> Job:
    """The same job, at work since then."""
    known = {"state": JobState.RUNNING, "started_at": since, "last_change_at": since}
    return replace(job, **{**known, **fields})  # type: ignore[arg-type]


def on(job: Job, **workers: int) -> tuple[Allocation, ...]:
    """A job's allocations: workers by node."""
    return tuple(Allocation(job=job.id, node=name, workers=count) for name, count in workers.items())


@dataclass
class Life:
    """What becomes of a job.

    Attributes:
        left: seconds that it still takes on its minimum of workers.
        victims: job that it was stopped for, once for each time.
        promised: the first eta that it was told, if ever.
    """

    job: Job
    left: float
    spots: dict[str, int] = field(default_factory=dict)
    leaving: dict[str, int] = field(default_factory=dict)
    due: float = 0.0  # when what leaves has left
    starts: list[float] = field(default_factory=list)
    stopped_for: list[str] = field(default_factory=list)
    promised: float | None = None
    done_at: float | None = None


class TinyCluster:
    """The model.

    Args:
        delay: seconds from the order to stop, shrink or start until it is done.
        work: job id → seconds that it takes on its minimum of workers.
    """

    def __init__(
        self,
        nodes: list[Node],
        config: Config,
        queues: tuple[Queue, ...] = (Queue(id="q"),),
        *,
        types: tuple[NodeType, ...] = (),
        delay: float = 1.0,
        seed: int = 0,
    ) -> None:
        self.nodes = {node.id: node for node in nodes}
        self.config, self.queues, self.types, self.delay, self.seed = config, queues, types, delay, seed
        self.now = 0.0
        self.lives: dict[str, Life] = {}
        self.reservations: tuple[Reservation, ...] = ()
        self.policy_state = PolicyState()
        self.plans = 0
        self.preemptions: list[tuple[str, str]] = []  # (preemptor, victim)
        self.wake: float | None = None
        self.added = 0

    # --- what happens ---

    def submit(self, job: Job, seconds: float) -> None:
        """A job that takes so long on its minimum of workers."""
        job = replace(job, submitted_at=self.now, last_change_at=self.now)
        self.lives[job.id] = Life(job=job, left=seconds)

    def kill(self, node: str) -> None:
        """A node is gone, and with it all jobs that had workers there (none of them can do with fewer)."""
        del self.nodes[node]
        for life in self.lives.values():
            if node in life.spots or node in life.leaving:
                self._end_stint(life)

    def advance(self, seconds: float) -> None:
        """Time passes; what ends ends at its moment."""
        end = self.now + seconds
        while (at := self._next_event(end)) is not None:
            self._run_until(at)
        self._run_until(end)

    def next_moment(self) -> float | None:
        """When something happens by itself, or the scheduler wants to be asked: now, if it is not through."""
        event, wake = self._next_event(1e18), self.wake
        moments = [event] if event is not None else []
        moments += [wake] if wake is not None and wake >= self.now else []
        return min(moments, default=None)

    # --- the scheduler's turn ---

    def snapshot(self) -> Snapshot:
        """Now."""
        alive = [life for life in self.lives.values() if life.done_at is None]
        allocations = []
        for life in alive:
            for name in sorted({*life.spots, *life.leaving}):
                goes = life.leaving.get(name, 0)
                count = life.spots.get(name, 0) + goes
                allocations.append(Allocation(job=life.job.id, node=name, workers=count, leaving=goes))
        return Snapshot(
            now=self.now,
            jobs=tuple(life.job for life in alive),
            nodes=tuple(self.nodes.values()),
            queues=self.queues,
            allocations=tuple(allocations),
            reservations=self.reservations,
            node_types=self.types,
            policy_state=self.policy_state,
            seed=self.seed,
        )

    def cycle(self) -> Plan:
        """One plan, carried out; what is always true is checked."""
        snapshot = self.snapshot()
        found = plan(snapshot, self.config)
        kept, dropped = recheck(found, snapshot)
        assert dropped == (), dropped  # nothing has changed meanwhile
        check_reasons(snapshot, found)
        self.plans += 1
        for action in kept.actions:
            match action:
                case Start():
                    self._start(action.job, action.placement)
                case Resize():
                    self._resize(action.job, action.placement)
                case Preempt():
                    self._stop(action)
                case Reject():
                    self.lives[action.job].done_at = self.now
                case AddNodes():
                    self._add(action)
                case DrainNode():
                    assert all(action.node not in life.spots for life in self.lives.values())
                    del self.nodes[action.node]
        for id, reason in kept.explain.items():
            if self.lives[id].promised is None and reason.eta is not None:
                self.lives[id].promised = reason.eta
        self.reservations, self.policy_state = kept.reservations, kept.policy_state
        self.wake = kept.next_wake_at
        self.check()
        return found

    def settle(self, cycles: int = 50) -> None:
        """Plan until nothing is decided any more, and let orders be done in between."""
        for _ in range(cycles):
            found = self.cycle()
            due = [life.due for life in self.lives.values() if life.due > self.now]
            if not found.actions and not due:
                return
            self.advance(min(due) - self.now if due else 0.0)

    def run(self, until: float = 1e9, plans_max: int = 10_000) -> None:
        """Live until everything is done, or until then."""
        while self.now < until and any(life.done_at is None for life in self.lives.values()):
            self.cycle()
            moment = self.next_moment()
            if moment is None:
                return
            self.advance(min(moment, until) - self.now)
            if self.plans > plans_max:
                raise AssertionError(f"not done after {plans_max} plans: {self.snapshot()}")

    # --- what must be true ---

    def check(self) -> None:
        """Nothing is given out twice; gangs are whole, and where they may be; limits hold."""
        free = {name: node.capacity.amounts for name, node in self.nodes.items()}
        for life in self.lives.values():
            for spots in (life.spots, life.leaving):
                for name, count in spots.items():
                    free[name] = minus(free[name], needs(life.job, count))
            count = sum(life.spots.values())
            if life.spots:
                assert life.job.min_workers <= count <= life.job.max_workers, life
                self._check_places(life)
        assert all(covers(left, (0, 0, 0)) for left in free.values()), free
        for queue in self.queues:
            for most, kind in zip(queue.limit.amounts, range(3), strict=True):
                used = sum(
                    needs(life.job, sum(life.spots.values()))[kind]
                    for life in self.lives.values()
                    if life.job.queue == queue.id
                )
                assert most is None or used <= most, (queue, used)

    def _check_places(self, life: Life) -> None:
        nodes = [self.nodes[name] for name in life.spots]
        for name, value in life.job.selector.items():
            assert all(node.labels.get(name) == value for node in nodes)
        if life.job.within is Within.NODE:
            assert len(nodes) == 1
        if life.job.within is Within.ZONE:
            assert len({node.zone for node in nodes}) == 1

    # --- the rest ---

    def _start(self, id: str, placement: Placement) -> None:
        life = self.lives[id]
        life.spots = {place.node: place.workers for place in placement}
        life.starts.append(self.now)
        self._idle_since(life.spots, None)
        self._change(life, state=JobState.RUNNING, started_at=self.now)

    def _resize(self, id: str, placement: Placement) -> None:
        life = self.lives[id]
        had = service(life.job, sum(life.spots.values()), self.now)
        after = {place.node: place.workers for place in placement}
        for name, count in life.spots.items():
            if (goes := count - after.get(name, 0)) > 0:
                life.leaving[name] = life.leaving.get(name, 0) + goes
                life.due = self.now + self.delay
        life.spots = after
        self._idle_since(life.spots, None)
        self._change(life, attained_service=had)

    def _stop(self, action: Preempt) -> None:
        life = self.lives[action.job]
        life.leaving = dict(life.spots)
        had = service(life.job, sum(life.spots.values()), self.now)
        life.spots, life.due = {}, self.now + self.delay
        if action.for_job is not None:
            life.stopped_for.append(action.for_job)
            self.preemptions.append((action.for_job, action.job))
        self._change(life, state=JobState.STOPPING, attained_service=had)

    def _add(self, action: AddNodes) -> None:
        (type,) = [type for type in self.types if type.id == action.type]
        for _ in range(action.count):
            self.added += 1
            self.nodes[f"{type.id}-{self.added}"] = Node(
                id=f"{type.id}-{self.added}",
                type=type.id,
                capacity=type.capacity,
                zone=action.zone,
                labels=type.labels,
                state=NodeState.BOOTING,
                eta=self.now + type.boot_seconds,
                for_job=action.for_job,
            )

    def _change(self, life: Life, **fields: object) -> None:
        known = {"last_change_at": self.now, "version": life.job.version + 1}
        life.job = replace(life.job, **{**known, **fields})  # type: ignore[arg-type]

    def _idle_since(self, names: object, since: float | None) -> None:
        for name in names:  # type: ignore[attr-defined]
            if name in self.nodes:
                self.nodes[name] = replace(self.nodes[name], idle_since=since)

    def _pace(self, life: Life) -> float:
        return sum(life.spots.values()) / life.job.min_workers

    def _next_event(self, before: float) -> float | None:
        moments = [life.due for life in self.lives.values() if life.leaving]
        moments += [self.now + life.left / self._pace(life) for life in self.lives.values() if life.spots]
        moments += [n.eta for n in self.nodes.values() if n.state is NodeState.BOOTING and n.eta is not None]
        return min((at for at in moments if self.now <= at < before), default=None)

    def _run_until(self, at: float) -> None:
        for life in self.lives.values():
            if life.spots:
                life.left -= (at - self.now) * self._pace(life)
        self.now = at
        for life in self.lives.values():
            if life.spots and life.left <= 1e-6:
                life.done_at = at
                self._idle_since([*life.spots, *life.leaving], at)
                life.spots, life.leaving = {}, {}
            elif life.leaving and life.due <= at:
                gone, life.leaving = life.leaving, {}
                self._idle_since([n for n in gone if not self._used(n)], at)
                if life.job.state is JobState.STOPPING:
                    self._change(life, state=JobState.PENDING, restarts=life.job.restarts + 1)
        for name, node in self.nodes.items():
            if node.state is NodeState.BOOTING and node.eta is not None and node.eta <= at:
                self.nodes[name] = replace(node, state=NodeState.UP, idle_since=at)

    def _used(self, name: str) -> bool:
        return any(name in life.spots or name in life.leaving for life in self.lives.values())

    def _end_stint(self, life: Life) -> None:
        had = service(life.job, sum(life.spots.values()), self.now)
        life.spots, life.leaving = {}, {}
        self._change(life, state=JobState.PENDING, attained_service=had)


def check_reasons(snapshot: Snapshot, found: Plan) -> None:
    """Every job that stays pending has a reason, in words too; nobody else has one."""
    decided = {a.job for a in found.actions if isinstance(a, Start | Reject)}
    waiting = {job.id for job in snapshot.jobs if job.state is JobState.PENDING} - decided
    assert set(found.explain) == waiting
    for reason in found.explain.values():
        assert reason.sentence
        assert reason.remedy
        assert "{" not in reason.sentence + reason.remedy
