"""The control loop: observe → decide → commit → act → report.

Everything that counts is in the database before anything is done about it, and orders say what should be. So
the loop can be killed at any point: who comes after it reads the same records, and gives the same orders
again.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from orchestrator.records.facts import JobState
from orchestrator.scheduler import Config, Plan, Snapshot, plan, recheck
from orchestrator.service import commit
from orchestrator.service.executor import ClusterNode, Executor, Heard, Order, Report
from orchestrator.service.hearing import Hearing
from orchestrator.service.retention import Retention
from orchestrator.service.world import World
from orchestrator.store.database import Database
from orchestrator.store.lease import Deposed
from orchestrator.store.records import JobRecord
from workers.errors import UnreachableError

_log = logging.getLogger(__name__)

#: Between two looks when nobody calls.
_LOOK_SECONDS = 0.5
#: Before the database is tried again.
_AGAIN_SECONDS = 1.0
#: A turn is followed by a rest of so many times what it took: the API, in the same process, needs CPU too.
_REST_TIMES = 2
#: Reasons that are written in one turn, at most.
_EXPLAIN_MAX = 250


class Controller:
    """Moves jobs through their lives; nobody else does.

    Args:
        database: what is so.
        executor: runs the jobs.
        config: of the scheduler.
        retention: what is removed with time; None for nothing.
        clock: seconds since the epoch.

    Attributes:
        seen: what the scheduler saw last, and the nodes as they were.
        took: seconds of the latest loop, and of its plan.
        deposed: set if another server has taken over.
    """

    def __init__(
        self,
        database: Database,
        executor: Executor,
        *,
        config: Config | None = None,
        retention: Retention | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._database, self._executor, self._clock = database, executor, clock
        self._config, self._retention = config or Config(), retention
        self._wake, self._stopping = threading.Event(), threading.Event()
        self._begin_anew(())
        self.seen: tuple[Snapshot | None, Sequence[ClusterNode]] = (None, ())
        self.took: tuple[float, float] = (0.0, 0.0)
        self.deposed: Deposed | None = None

    def run(self) -> None:
        """Loop until `stop`; whatever goes wrong, it goes on, unless another server has taken over."""
        while not self._stopping.is_set():
            self._wake.clear()
            pause, more = _LOOK_SECONDS, False
            try:
                more = self.turn()
            except Deposed as error:
                self.deposed = error
                return
            except UnreachableError as error:
                _log.warning("the database does not answer: %s", error)
                pause = _AGAIN_SECONDS
                self._begin_anew(self._hearing.unheard)
            except Exception:
                _log.exception("a loop failed")
                pause = _AGAIN_SECONDS
                self._begin_anew(self._hearing.unheard)
            self._stopping.wait(_REST_TIMES * self.took[0])
            if not more:
                self._wake.wait(pause)

    def now(self) -> float:
        """Seconds since the epoch."""
        return self._clock()

    def wake(self) -> None:
        """Look now. From any thread."""
        self._wake.set()

    def stop(self) -> None:
        """End `run` soon; jobs go on. From any thread."""
        self._stopping.set()
        self._wake.set()

    def turn(self) -> bool:
        """Once around; whether there is more to do at once.

        Raises:
            UnreachableError: the database does not answer. Nothing is lost: turn again.
        """
        begin, now = time.perf_counter(), self._clock()
        # 1 Observe: what is there, what supervisors tell, what owners want.
        nodes = self._executor.nodes()
        self._hearing.listen(self._executor.reports())
        with self._database.reading() as tx:
            self._world.look(tx)
        with self._database.transaction() as tx:
            self._world.read(tx)
            self._hearing.settle(tx, nodes, now)
        self._hearing.settled()
        # 2 Decide, if anything has changed.
        planned = time.perf_counter()
        decided = self._decide(nodes, now) if nodes is not None else None
        self.took = (0.0, time.perf_counter() - planned)
        # 3 Commit, item by item, what fits how things are by now.
        again = decided is not None and self._commit(decided, nodes or (), now)
        # 4 Act: say how things should be.
        self._act()
        # 5 Report: why others wait.
        self._explain()
        # 6 Forget what is old, a little at a time.
        if self._retention is not None:
            self._retention.sweep(self._database, now)
        self.took = (time.perf_counter() - begin, self.took[1])
        return again or bool(self._unsaid)

    def _begin_anew(self, unheard: Sequence[Report]) -> None:
        """Nothing of what is in memory counts, but for reports that were not noted."""
        self._world = World()
        self._hearing = Hearing(self._world, unheard)
        self._essence: tuple[object, ...] | None = None
        self._wake_at: float | None = None
        self._unsaid: dict[str, Mapping[str, Any]] = {}
        self._told: dict[str, Order] = {}

    def _decide(self, nodes: Sequence[ClusterNode], now: float) -> Plan | None:
        essence = self._world.essence(now, nodes)
        due = self._wake_at is not None and self._wake_at <= now
        if essence == self._essence and not due:
            return None
        snapshot = self._world.snapshot(now, nodes)
        self.seen = (snapshot, nodes)
        decided = plan(snapshot, self._config)
        self._essence, self._wake_at = essence, decided.next_wake_at
        return decided

    def _commit(self, decided: Plan, nodes: Sequence[ClusterNode], now: float) -> bool:
        """Returns whether something was overtaken, so that it is to be planned again."""
        with self._database.transaction() as tx:
            self._world.read(tx)
            kept, dropped = recheck(decided, self._world.snapshot(now, nodes))
            commit.carry_over(tx, self._world, kept, now)
        if dropped:
            self._essence = None
        waiting = [r for r in self._world.records.values() if r.state is JobState.QUEUED]
        self._unsaid = commit.explanations(decided, waiting, self._world.resting)
        return bool(dropped)

    def _explain(self) -> None:
        """Write why jobs wait, some at a time: where the first of a queue starts, all behind it have another
        reason."""
        self._unsaid = commit.news(self._world, self._unsaid)
        if not self._unsaid:
            return
        now = dict(list(self._unsaid.items())[:_EXPLAIN_MAX])
        with self._database.transaction() as tx:
            tx.jobs.explain(now)
        self._unsaid = {id: why for id, why in self._unsaid.items() if id not in now}

    def _act(self) -> None:
        holding = {record.id: record for record in self._world.holding()}
        for record in holding.values():
            order, before = self._order(record), self._told.get(record.id)
            if before is None or _as_told(order) != _as_told(before):
                self._executor.carry_out(order)
                self._told[record.id] = order
                self._hearing.told(order)
        self._told = {job: order for job, order in self._told.items() if job in holding}
        for job, attempt in self._executor.present() or ():
            if job not in holding or holding[job].attempt != attempt:
                self._executor.dismiss(job, attempt)

    def _order(self, record: JobRecord) -> Order:
        submission = record.submission
        return Order(
            job=record.id,
            name=submission.name,
            attempt=record.attempt,
            spec=submission.spec,
            bundle=submission.bundle,
            start=submission.start,
            submitted_at=record.submitted_at,
            places=self._world.places(record.id),
            number=record.version,
            begin=record.state is JobState.STARTING,
            stop=record.state is JobState.STOPPING,
            heard=self._hearing.positions.get(record.id, Heard()),
        )


def _as_told(order: Order) -> tuple[object, ...]:
    """What of an order is worth telling again."""
    return order.attempt, order.places, order.stop
