"""A plan while it is being made: who has what, what has been decided so far, and what room that leaves."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import inf

import numpy as np

from orchestrator.scheduler.actions import Preempt
from orchestrator.scheduler.at_work import Worker, at_work
from orchestrator.scheduler.config import Config, Policy
from orchestrator.scheduler.placement import most
from orchestrator.scheduler.queues import Ledger, plus
from orchestrator.scheduler.reasons import Code, Fact, Reason
from orchestrator.scheduler.room import SOON, Shape, Spots
from orchestrator.scheduler.snapshot import (
    Amounts,
    Job,
    JobState,
    NodeState,
    Place,
    Placement,
    Reservation,
    Snapshot,
    Within,
)
from orchestrator.scheduler.timeline import build

#: Policies that promise starts. The others need none: whoever stands first takes from those behind.
PROMISING = (Policy.PRIORITY, Policy.FAIR, Policy.DEADLINE)


@dataclass(frozen=True, slots=True)
class Promise:
    """Room that is taken from later rows for a pending job; times are those of rows."""

    shape: Shape
    spots: Spots
    start: float
    end: float
    reservation: Reservation


class Board:
    """Everything that a plan's stages read and write."""

    def __init__(self, snapshot: Snapshot, config: Config) -> None:
        self.snapshot, self.config, self.now = snapshot, config, snapshot.now
        self.nodes = sorted(snapshot.nodes, key=lambda node: node.id)
        self.numbers = {node.id: number for number, node in enumerate(self.nodes)}
        self.ahead = config.policy in PROMISING
        held = list(at_work(snapshot, self.numbers, ahead=self.ahead).values())
        promised = (reservation.start_at for reservation in snapshot.reservations)
        self.room = build(self.nodes, held, promised, self.now, ahead=self.ahead)
        self.pending = {job.id: job for job in snapshot.jobs if job.state is JobState.PENDING}
        self.at_work = {w.job.id: w for w in held if w.job.state is not JobState.STOPPING}
        self.ledger = Ledger(snapshot.queues, self._total())
        self.ledger.add_all(held)
        self.kept = self._kept_nodes()
        self.reserved = {r.job: r for r in snapshot.reservations if r.job in self.pending}
        self.promises: dict[str, Promise] = {}
        self.stops: list[Preempt] = []
        self.explain: dict[str, Reason] = {}
        self.rejects: dict[str, Reason] = {}
        self.admitted: set[str] = set(snapshot.policy_state.admitted)
        self.promoted: dict[str, float] = dict(snapshot.policy_state.promoted)
        self.first_blocked: str | None = None
        self.head: str | None = None  # the first that is promised what nobody leaves for it
        self.considered = 0  # jobs for which a promise was sought
        self.patient = 0  # jobs that wait for others who may not be stopped yet
        self.wakes: list[float] = []
        self._leaving: dict[int, int] = {}
        self.guessed: dict[int, float] = {}  # from when on a node's room is a guess
        self._note(held)
        capacity = [node.capacity.amounts for node in self.nodes]
        self._capacity = np.array(capacity, dtype=np.int64).reshape(-1, 3)
        self._fits: dict[tuple[Shape, Within], int] = {}
        self._shared: dict[tuple[Code, tuple[Fact, ...]], Reason] = {}
        self.lifts = 0  # how often room was given back to all
        self.departed: list[str] = []  # who was told to leave by this plan, wholly or in part

    def _note(self, held: Sequence[Worker]) -> None:
        """Which nodes they leave, and from when on room there is a guess. Their ends become those of rows."""
        for worker in held:
            for node, workers in worker.leaving.items():
                self._leaving[node] = self._leaving.get(node, 0) + workers
            if not worker.known and worker.end < inf:
                for node in worker.spots:
                    if worker.end < self.guessed.get(node, inf):
                        self.guessed[node] = worker.end
        if self.ahead:
            rows = np.searchsorted(self.room.clock, [worker.end for worker in held], side="left")
            for worker, row in zip(held, np.maximum(rows, SOON + 1).tolist(), strict=True):
                worker.end = self.room.time_of(row)

    def _total(self) -> Amounts:
        total = (0, 0, 0)
        for node in self.nodes:
            if node.state is not NodeState.DRAINING:
                total = plus(total, node.capacity.amounts)
        return total

    def _kept_nodes(self) -> dict[str, list[int]]:
        """Nodes that were added for gangs that still wait: nobody else sees them."""
        kept: dict[str, list[int]] = {}
        for number, node in enumerate(self.nodes):
            if node.for_job in self.pending and node.state is not NodeState.DRAINING:
                kept.setdefault(str(node.for_job), []).append(number)
        for numbers in kept.values():
            self.room.open(self.that_are_up(numbers), closed=True)
            for number in numbers:
                if self.nodes[number].state is NodeState.BOOTING:
                    self.room.free[:, number] = 0
        return kept

    def that_are_up(self, numbers: Iterable[int]) -> list[int]:
        """Of these nodes, those that can be used now."""
        return [number for number in numbers if self.nodes[number].state is NodeState.UP]

    def placement(self, spots: Mapping[int, int]) -> Placement:
        """For people and programs outside."""
        return tuple(Place(node=self.nodes[n].id, workers=spots[n]) for n in sorted(spots) if spots[n])

    def spots(self, placement: Placement) -> Spots | None:
        """For the plan; None if one of the nodes cannot be used any more."""
        found: Spots = {}
        for place in placement:
            number = self.numbers.get(place.node)
            if number is None or self.nodes[number].state is NodeState.DRAINING:
                return None
            found[number] = found.get(number, 0) + place.workers
        return found

    def over_at(self, job: Job) -> float:
        """When it is over if it starts now: for ever, where nobody looks ahead."""
        return inf if job.estimate is None or not self.ahead else self.now + job.estimate

    def cut_end(self, first: int, job: Job) -> int:
        """The row before which a job is over that starts in that row; one begins there, if rows are left."""
        if job.estimate is not None and self.ahead:
            self.room.cut(self.room.times[first] + job.estimate)
        return self.room.end_row(first, job.estimate)

    def start(self, job: Job, spots: Spots) -> None:
        """Decided: it starts there, now."""
        end = self.cut_end(0, job)
        self.room.take(self.room.shape(job), spots, 0, end)
        time = self.room.time_of(end)
        worker = self.at_work[job.id] = Worker(job=job, spots=dict(spots), end=time, known=True, starts=True)
        worker.count, worker.served = sum(spots.values()), job.attained_service
        self.ledger.add(job, worker.count)
        self.explain.pop(job.id, None)
        self.head = None if self.head == job.id else self.head

    def promise(
        self, job: Job, spots: Spots, first: int, *, firm: bool = False, start_at: float | None = None
    ) -> None:
        """Decided: this room is for it, from that row on; start_at: when it can be used, if later."""
        shape, start = self.room.shape(job), self.room.times[first]
        reservation = Reservation(
            job=job.id,
            places=self.placement(spots),
            start_at=start if start_at is None else start_at,
            firm=firm,
            since=self._since(job, firm),
        )
        end = self.cut_end(first, job)
        self.room.take(shape, spots, first, end)
        self.promises[job.id] = Promise(
            shape=shape, spots=spots, start=start, end=self.room.time_of(end), reservation=reservation
        )
        if firm:  # it is as good as there
            self.ledger.add(job, job.min_workers)
        else:
            self.ledger.promise(job, job.min_workers)

    def _since(self, job: Job, firm: bool) -> float | None:
        if not firm:
            self.head = job.id if self.head is None else self.head
            if self.head != job.id:
                return None
        before = self.reserved.get(job.id)
        if before is None or before.firm is not firm or before.since is None:
            return self.now
        return before.since

    def lift(self, job: Job) -> Promise | None:
        """Take a promise back; what it was."""
        promise = self.promises.pop(job.id, None)
        if promise is None:
            return None
        self.lifts += 1
        first = max(SOON, self.room.row_of(promise.start))
        self.room.give(promise.shape, promise.spots, first, self.row_before(promise.end))
        if promise.reservation.firm:
            self.ledger.add(job, -job.min_workers)
        else:
            self.ledger.promise(job, -job.min_workers)
        return promise

    def row_before(self, end: float) -> int:
        """The row from which what somebody has until then counts as free."""
        return len(self.room.times) if end == inf else self.room.row_of(end)

    def stop(self, worker: Worker, reason: Reason, for_job: str | None) -> None:
        """Decided: it saves and stops. Its room is free soon."""
        shape = self.room.shape(worker.job)
        self.room.give(shape, worker.spots, SOON, SOON + 1)
        kept = {node: workers - worker.lent.get(node, 0) for node, workers in worker.spots.items()}
        self.room.give(shape, kept, SOON + 1, max(SOON + 1, self.row_before(worker.end)))
        self.departed.append(worker.job.id)
        del self.at_work[worker.job.id]
        self.ledger.add(worker.job, -worker.count)
        preempt = Preempt(job=worker.job.id, version=worker.job.version, reason=reason, for_job=for_job)
        self.stops.append(preempt)

    def shrink(self, worker: Worker, spots: Spots, reason: Reason, for_job: str | None) -> None:
        """Decided: it gives these workers back. Their room is free soon, and later counts so in any case."""
        self.room.give(self.room.shape(worker.job), spots, SOON, SOON + 1)
        self.departed.append(worker.job.id)
        for node, workers in spots.items():
            for spots_of in (worker.spots, worker.lent):
                spots_of[node] -= workers
                if not spots_of[node]:
                    del spots_of[node]
        fewer = sum(spots.values())
        worker.count -= fewer
        self.ledger.add(worker.job, -fewer)
        worker.moved, worker.why, worker.for_job = True, reason, for_job

    def move(self, worker: Worker, stay: Spots, more: Spots, reason: Reason) -> None:
        """Decided: of its workers only these stay, and these come elsewhere."""
        shape, end = self.room.shape(worker.job), max(SOON + 1, self.row_before(worker.end))
        count = worker.count
        self.room.take(shape, more, 0, end)
        worker.spots = {node: stay.get(node, 0) + more.get(node, 0) for node in {**stay, **more}}
        worker.count = sum(worker.spots.values())
        worker.lent = {node: workers for node, workers in worker.lent.items() if node in stay}
        keeps = sum(worker.lent.values()) - worker.on_loan
        for node in sorted(worker.lent):  # these are not on loan any more
            here = min(worker.lent[node], keeps)
            if here > 0:
                worker.lent[node] -= here
                keeps -= here
                self.room.take(shape, {node: here}, SOON + 1, end)
        worker.lent = {node: workers for node, workers in worker.lent.items() if workers}
        self.ledger.add(worker.job, worker.count - count)
        worker.moved, worker.grew, worker.why = True, bool(more), reason

    def grow(self, worker: Worker, spots: Spots, reason: Reason) -> None:
        """Decided: it gets these workers too, on loan."""
        self.room.take(self.room.shape(worker.job), spots, 0, SOON + 1)
        for node, workers in spots.items():
            worker.spots[node] = worker.spots.get(node, 0) + workers
            worker.lent[node] = worker.lent.get(node, 0) + workers
        more = sum(spots.values())
        worker.count += more
        self.ledger.add(worker.job, more)
        if not worker.starts:
            worker.moved, worker.grew, worker.why = True, True, worker.why or reason

    def leaving_on(self, spots: Iterable[int]) -> int:
        """Workers that were told to leave these nodes before this plan."""
        return sum(self._leaving.get(node, 0) for node in spots)

    def misfit(self, job: Job) -> Reason | None:
        """Why a job could not run even if nothing else did, on the nodes that there are."""
        fit = self.fits(self.room.shape(job), job.within)
        if job.min_workers <= fit:
            return None
        return (
            self.reason(Code.TOO_LARGE, needed=job.min_workers, fit=fit)
            if fit
            else self.reason(Code.NO_SUCH_NODE)
        )

    def fits(self, shape: Shape, within: Within) -> int:
        """How many workers there would be room for if nothing ran, on the nodes that there are."""
        if (shape, within) not in self._fits:
            slots = shape.fit(self._capacity) * shape.eligible
            self._fits[shape, within] = most(slots, within, self.room)
        return self._fits[shape, within]

    def reason(self, code: Code, **facts: Fact) -> Reason:
        """A reason without an eta; thousands of jobs share few of them."""
        key = (code, tuple(facts.values()))
        if key not in self._shared:
            self._shared[key] = Reason(code=code, facts=facts)
        return self._shared[key]
