"""A made-up cluster in fake time: nodes, supervisors that outlive the server, and workers that take room.

`ModelExecutor` is what one life of the server has of it: what it was doing is gone when the server dies.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import Any

from orchestrator.gang import Outcome
from orchestrator.scheduler.snapshot import Resources
from orchestrator.service.executor import (
    ClusterNode,
    Heard,
    Missing,
    NotStarted,
    Order,
    Over,
    Report,
    Seen,
    Told,
)
from workers.protocol import Fault


class Violation(Exception):
    """Something that must never happen."""


@dataclass
class Supervisor:
    """One attempt of a job, and all that it has. `work` is in worker-seconds."""

    job: str
    attempt: int
    places: dict[str, int]
    heeded: int
    work: float
    held: dict[str, int] = field(default_factory=dict)
    running: bool = False
    stopping: bool = False
    outcome: Outcome | None = None
    history: list[Told] = field(default_factory=list)
    fails: bool = False


class Cluster:
    """What goes on whether there is a server or not.

    Attributes:
        now: seconds.
        work: what each job still has to do, as of its newest checkpoint.
        begun: attempts that were ever begun.
    """

    def __init__(self, rng: Random, nodes: Mapping[str, int]) -> None:
        self.rng, self.now = rng, 0.0
        self.nodes = dict(nodes)
        self.supervisors: dict[tuple[str, int], Supervisor] = {}
        self.work: dict[str, float] = {}
        self.saved: set[str] = set()
        self.failing: set[str] = set()
        self.begun: set[tuple[str, int]] = set()
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._counter = 0

    def after(self, seconds: float, what: Callable[[], None]) -> None:
        """Have something happen later."""
        self._counter += 1
        heapq.heappush(self._events, (self.now + seconds, self._counter, what))

    def advance(self, seconds: float) -> None:
        """Let time pass, and everybody work."""
        until = self.now + seconds
        while self._events and self._events[0][0] <= until:
            at, _, what = heapq.heappop(self._events)
            self._train(at - self.now)
            self.now = at
            what()
        self._train(until - self.now)
        self.now = until

    def begin(self, order: Order) -> Supervisor:
        """A supervisor comes into being."""
        key = (order.job, order.attempt)
        if key in self.begun:
            raise Violation(f"attempt {key} is begun twice")
        others = [s for s in self.supervisors.values() if s.job == order.job and s.outcome is None]
        if others:
            raise Violation(f"attempt {key} is begun beside {[s.attempt for s in others]}")
        self.begun.add(key)
        supervisor = Supervisor(
            job=order.job,
            attempt=order.attempt,
            places=dict(order.places),
            heeded=order.number,
            work=self.work[order.job],
            fails=order.job in self.failing,
        )
        supervisor.history.append(Told(time=self.now, kind="placed", cause="", reason="", data={}))
        self.supervisors[key] = supervisor
        self.after(self.rng.uniform(0.5, 3.0), partial(self._come, supervisor))
        return supervisor

    def tell(self, supervisor: Supervisor, order: Order) -> None:
        """An order reaches a supervisor."""
        if supervisor.outcome is not None:
            return
        if order.stop:
            supervisor.stopping = True
            self.after(self.rng.uniform(0.1, 4.0), partial(self._stop, supervisor))
        elif order.number > supervisor.heeded:
            supervisor.places, supervisor.heeded = dict(order.places), order.number
            self.after(self.rng.uniform(0.1, 2.0), partial(self._come, supervisor))
            self.after(self.rng.uniform(0.1, 3.0), partial(self._leave, supervisor))

    def lose_node(self, node: str) -> None:
        """A machine is gone, with all workers on it; supervisors are elsewhere."""
        self.nodes.pop(node, None)
        for supervisor in self.supervisors.values():
            supervisor.held.pop(node, None)
            supervisor.running = supervisor.running and bool(supervisor.held)

    def lose_supervisor(self) -> None:
        """A supervisor is gone for good, and all that it had."""
        alive = [key for key, s in self.supervisors.items() if s.outcome is None]
        if alive:
            del self.supervisors[self.rng.choice(sorted(alive))]

    def _come(self, supervisor: Supervisor) -> None:
        """Workers take the places that there is room for; the rest waits."""
        if supervisor.outcome is not None or (supervisor.job, supervisor.attempt) not in self.supervisors:
            return
        waits = False
        for node, wanted in supervisor.places.items():
            used = sum(s.held.get(node, 0) for s in self.supervisors.values())
            more = min(wanted - supervisor.held.get(node, 0), self.nodes.get(node, 0) - used)
            if more > 0:
                supervisor.held[node] = supervisor.held.get(node, 0) + more
            waits |= node in self.nodes and supervisor.held.get(node, 0) < wanted
        if supervisor.held and not waits:
            supervisor.running = True
            if supervisor.fails:
                self._end(supervisor, Outcome(done=False, exit_code=1, fault=Fault.USER, message="it raised"))
        if waits:
            self.after(0.5, partial(self._come, supervisor))

    def _leave(self, supervisor: Supervisor) -> None:
        if supervisor.outcome is None:
            places = supervisor.places
            held = {node: min(count, places.get(node, 0)) for node, count in supervisor.held.items()}
            supervisor.held = {node: count for node, count in held.items() if count}

    def _stop(self, supervisor: Supervisor) -> None:
        if supervisor.outcome is None and (supervisor.job, supervisor.attempt) in self.supervisors:
            self.work[supervisor.job] = supervisor.work
            self.saved.add(supervisor.job)
            self._end(supervisor, Outcome(done=False, stopped=True, exit_code=130, message="stopped"))

    def _end(self, supervisor: Supervisor, outcome: Outcome) -> None:
        supervisor.outcome, supervisor.held, supervisor.running = outcome, {}, False

    def _train(self, seconds: float) -> None:
        for supervisor in self.supervisors.values():
            if supervisor.running and supervisor.outcome is None:
                supervisor.work -= seconds * sum(supervisor.held.values())
                if supervisor.work <= 0:
                    self.work[supervisor.job] = 0.0
                    self._end(supervisor, Outcome(done=True))


class ModelExecutor:
    """`orchestrator.service.executor.Executor` for one life of the server.

    Args:
        crash: called at each effect; may raise.
    """

    def __init__(self, cluster: Cluster, crash: Callable[[str], None]) -> None:
        self._cluster, self._crash = cluster, crash
        self._orders: dict[tuple[str, int], Order] = {}
        self._heard: dict[tuple[str, int], int] = {}
        self._over: set[tuple[str, int]] = set()
        self._beginning: set[tuple[str, int]] = set()
        self._reports: list[Report] = []
        self.alive = True
        self.blind = False

    def nodes(self) -> list[ClusterNode] | None:
        """See `Executor.nodes`."""
        if self.blind:
            return None
        return [
            ClusterNode(id=node, capacity=Resources(cpu_millis=1000 * room))
            for node, room in sorted(self._cluster.nodes.items())
        ]

    def carry_out(self, order: Order) -> None:
        """See `Executor.carry_out`."""
        self._crash("before an order")
        key = (order.job, order.attempt)
        if key not in self._orders:
            self._heard[key] = order.heard.position if order.heard.incarnation else 0
        self._orders[key] = order
        self._cluster.after(self._cluster.rng.uniform(0.0, 1.0), partial(self._meet, key))
        self._crash("after an order")

    def dismiss(self, job: str, attempt: int) -> None:
        """See `Executor.dismiss`."""
        self._crash("before a dismissal")
        found = self._cluster.supervisors.pop((job, attempt), None)
        if found is not None and found.outcome is None:
            raise Violation(f"{job}, attempt {attempt}, is dismissed while it is at work")
        self._orders.pop((job, attempt), None)
        self._crash("after a dismissal")

    def save(self, job: str, attempt: int) -> None:
        """See `Executor.save`."""

    def present(self) -> set[tuple[str, int]] | None:
        """See `Executor.present`."""
        return None if self.blind else {*self._cluster.supervisors, *self._beginning}

    def reports(self) -> list[Report]:
        """See `Executor.reports`."""
        for key in self._orders:
            supervisor = self._cluster.supervisors.get(key)
            if supervisor is not None and key not in self._over and key not in self._beginning:
                self._reports.append(self._report(key, supervisor))
            elif supervisor is None and key in self._cluster.begun and key not in self._over:
                self._over.add(key)
                self._reports.append(Missing(job=key[0], attempt=key[1], why="its supervisor is gone"))
        reports, self._reports = self._reports, []
        return reports

    def _report(self, key: tuple[str, int], supervisor: Supervisor) -> Report:
        told = tuple(supervisor.history[self._heard[key] :])
        heard = Heard(incarnation="one", position=len(supervisor.history))
        self._heard[key] = heard.position
        common: dict[str, Any] = {"job": key[0], "attempt": key[1], "view": {}, "told": told, "heard": heard}
        if supervisor.outcome is not None:
            self._over.add(key)
            return Over(outcome=supervisor.outcome, **common)
        held = {node: max(count, supervisor.places.get(node, 0)) for node, count in supervisor.held.items()}
        return Seen(running=supervisor.running, held=held, heeded=supervisor.heeded, **common)

    def _meet(self, key: tuple[str, int]) -> None:
        """What a thread does about an order, if the server is alive still."""
        order = self._orders.get(key)
        if not self.alive or order is None or key in self._beginning:
            return
        supervisor = self._cluster.supervisors.get(key)
        if supervisor is not None:
            self._cluster.tell(supervisor, order)
        elif not order.begin or order.stop:
            if key not in self._over:
                self._over.add(key)
                self._reports.append(Missing(job=order.job, attempt=order.attempt, why="it is not there"))
        else:
            self._beginning.add(key)
            self._cluster.after(self._cluster.rng.uniform(0.0, 2.0), partial(self._begin, key))

    def _begin(self, key: tuple[str, int]) -> None:
        order = self._orders.get(key)
        self._beginning.discard(key)
        if not self.alive or order is None:
            return
        if order.stop:
            self._meet(key)
        elif order.start == "new" and order.job in self._cluster.saved:
            why = "an earlier run is here"
            self._refuse(order, why, passing=False)
        elif self._cluster.rng.random() < 0.03:
            self._refuse(order, "the store does not answer", passing=True)
        else:
            self._cluster.begin(order)
            self._meet(key)

    def _refuse(self, order: Order, why: str, *, passing: bool) -> None:
        self._over.add((order.job, order.attempt))
        self._reports.append(
            NotStarted(job=order.job, attempt=order.attempt, message=why, exit_code=3, passing=passing)
        )
