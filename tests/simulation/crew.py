"""A job's workers on simulated machines: `orchestrator.supervisor.Crew` in virtual time."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import partial
from itertools import zip_longest
from typing import TYPE_CHECKING

from tests.simulation.engine import Engine
from tests.simulation.worker import SimWorker
from workers.protocol import (
    Activity,
    Beat,
    Failed,
    Fault,
    Lost,
    Memory,
    News,
    Order,
    Placed,
    Pulse,
    Stacks,
    Vanished,
)

if TYPE_CHECKING:
    from tests.simulation.world import World


class SupervisorDied(Exception):
    """Nobody looks after the job until there is a new one."""


class SimCrew:
    """Starts workers, carries messages, and is the only place where virtual time passes.

    Attributes:
        workers: those that are not gone, by name, as far as the supervisor can know.
        doomed: the supervisor dies at its next look, and is back after so many seconds.
        nap: for so many seconds the supervisor will not look.
        failing_starts: so many of the next workers do not get through their start.
        dead_nodes: nobody can be placed there.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self.workers: dict[str, SimWorker] = {}
        self.doomed = self.nap = 0.0
        self.failing_starts = 0
        self.dead_nodes: list[str] = []
        self._hired: set[str] = set()
        self._inbox: list[News] = []
        self._spares = self._listener = self._started = 0

    def hire(self, workers: Sequence[str], avoid: Collection[str], nodes: Sequence[str] = ()) -> None:
        """See `orchestrator.supervisor.Crew.hire`. On a node that is gone nobody comes into being."""
        world = self._world
        for name, node in zip_longest(workers, nodes):
            self._hired.add(name)
            if node is not None:
                delay = 0.01 + 0.1 * world.rng.random()
                if node not in self.dead_nodes:
                    world.clock.after(delay, partial(self._start, self._listener, name, node))
                continue
            names = (f"node-{number}" for number in range(world.plan.nodes))
            there = [node for node in names if node not in avoid and node not in self.dead_nodes]
            delay = 0.01 + 0.1 * world.rng.random()
            if there:
                node = there[int(world.rng.random() * len(there))]
            else:  # a machine that was not there before
                self._spares += 1
                node, delay = f"spare-{self._spares}", delay + 2.0
            world.clock.after(delay, partial(self._start, self._listener, name, node))

    def tell(self, worker: str, order: Order) -> None:
        """See `orchestrator.supervisor.Crew.tell`."""
        if worker in self.workers:
            self.workers[worker].tell(order)

    def hear(self, timeout: float) -> list[News]:
        """See `orchestrator.supervisor.Crew.hear`."""
        clock = self._world.clock
        if self.doomed:
            raise SupervisorDied
        if self.nap:
            until, self.nap = clock.now + self.nap, 0.0
            while clock.step(until):
                pass
        until = clock.now + timeout
        while not self._inbox and clock.step(until):
            pass
        news, self._inbox = self._inbox, []
        return news

    def dismiss(self, worker: str, *, stacks: bool) -> None:
        """See `orchestrator.supervisor.Crew.dismiss`. Whoever is out of reach lives on for a while."""
        self._hired.discard(worker)
        found = self.workers.pop(worker, None)
        if found is None:
            return
        found.dismissed = True
        if found.unreachable:
            self._world.clock.after(4.0, found.die)
        else:
            found.die()
        if stacks:
            text = Stacks(worker=worker, text="")
            self._world.clock.after(0.2, partial(self._hear, text))

    def adopt(self) -> list[Memory]:
        """A new supervisor asks whoever is there; those that do not answer are ended."""
        self.doomed, self._listener = 0.0, self._listener + 1
        self._inbox.clear()
        self._hired.clear()
        memories = []
        for worker in list(self.workers.values()):
            if not worker.alive:
                worker.dismissed = True
                del self.workers[worker.name]
            elif worker.frozen or worker.unreachable:
                self.dismiss(worker.name, stacks=False)
            else:
                worker.given_up = False
                memories.append(worker.remember())
        return memories

    def deliver(self, worker: SimWorker, news: list[News]) -> None:
        """What a worker said has come through."""
        if not worker.dismissed:
            self._inbox += news

    def lose(self, worker: SimWorker, fault: Fault, delay: float) -> None:
        """Whoever watches processes will find that this one is gone."""
        self._world.clock.after(delay, partial(self._find_lost, worker, fault))
        if fault is Fault.CRASH and self._world.rng.random() < 0.7:
            self._world.clock.after(0.01 * self._world.rng.random(), partial(self._find_vanished, worker))

    def cut_lifeline(self, worker: SimWorker) -> None:
        """A worker's connection closes, and it lives: to be certain, it is ended after a while.

        Until then it may go on in its generation if that needs nobody else; nothing of that counts.
        """
        self._find_vanished(worker)
        self._world.clock.after(2.0, partial(self._end_vanished, worker))

    def _find_vanished(self, worker: SimWorker) -> None:
        if not worker.dismissed:
            worker.given_up = True
            self._inbox.append(Vanished(worker=worker.name))

    def _end_vanished(self, worker: SimWorker) -> None:
        if worker.given_up and worker.alive and not worker.dismissed:
            self._world.crash(worker)

    def _find_lost(self, worker: SimWorker, fault: Fault) -> None:
        if not worker.dismissed:
            worker.dismissed = True
            del self.workers[worker.name]
            by_itself = any(kind == "poison" for kind, _ in self._world.happened)
            lost = Lost(worker=worker.name, cause="it died", fault=fault, by_itself=by_itself)
            self._inbox.append(lost)

    def _start(self, listener: int, name: str, node: str) -> None:
        if name not in self._hired or listener != self._listener:
            return
        world = self._world
        speed = world.plan.speeds[self._started % len(world.plan.speeds)]
        self._started += 1
        worker = SimWorker(world, name, node, speed, f"{node}:{self._started}")
        self.workers[name] = worker
        pulse = Pulse(activity=Activity.STARTUP, seconds=0.0)
        self._inbox += (Placed(workers=(name,)), Beat(worker=name, pulse=pulse))
        if self.failing_starts:
            self.failing_starts -= 1
            world.clock.after(world.plan.startup * world.rng.random(), partial(self._fail_start, worker))
        worker.start(Engine(world, worker).live())

    def _fail_start(self, worker: SimWorker) -> None:
        if worker.phase != "starting" or not worker.alive:
            return
        if self._world.rng.random() < 0.5:
            self._world.crash(worker)
        else:
            worker.token += 1
            worker.report(Failed, fault=Fault.INTERNAL, message="it could not start")

    def _hear(self, news: News) -> None:
        self._inbox.append(news)
