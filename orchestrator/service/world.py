"""What the control loop works on: the live jobs, what they hold, and what it remembers, as of one
transaction."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from orchestrator.records.facts import JobState
from orchestrator.scheduler import Plan, Snapshot
from orchestrator.scheduler.actions import Reserve
from orchestrator.scheduler.codec import from_json, to_json
from orchestrator.scheduler.snapshot import Job
from orchestrator.service.executor import ClusterNode
from orchestrator.service.observe import STATES, job_of, snapshot_of, staying
from orchestrator.store.mirror import LiveJobs
from orchestrator.store.records import AllocationRecord, JobRecord, QueueRecord
from orchestrator.store.states import ENDED, HOLDING
from orchestrator.store.transaction import Transaction

#: What is remembered under which name.
PLAN, DRAINS = "scheduler", "drains"


@dataclass(frozen=True)
class _Known:
    """A job as the scheduler sees it, and what that was made of; `bare` has no version."""

    record: JobRecord
    workers: int
    job: Job
    bare: Job


class World:
    """Call `look` now and then, and `read` first in each transaction; `put` and `hold` tell it of what is
    written after that.

    Attributes:
        records: the jobs that are not over, by id.
        rows: what they hold, by job.
        queues: all of them.
        draining: nodes that go away → when.
        plan: the last one's promises and policy state.
        resting: jobs that are not to be started before a time.
    """

    def __init__(self) -> None:
        self._live = LiveJobs()
        self._known: dict[str, _Known] = {}
        self.records: dict[str, JobRecord] = {}
        self.rows: dict[str, tuple[AllocationRecord, ...]] = {}
        self.queues: tuple[QueueRecord, ...] = ()
        self.draining: dict[str, float] = {}
        self.plan = Plan()
        self.resting: dict[str, float] = {}
        self._saved: object = None
        self._change = 0
        self._looked = False  # what is known of the jobs is up to date

    def look(self, tx: Transaction) -> None:
        """Fetch the jobs that have changed, in a block that only reads: what it sees is on disk."""
        self._live.refresh(tx)
        self._change = tx.jobs.newest_change()

    def read(self, tx: Transaction) -> None:
        """All of it anew, and what has changed since the last `look`."""
        self._looked = False
        self.records = dict(self._live.jobs)
        for record in tx.jobs.changed_since(self._change)[0]:
            self.records.pop(record.id, None)
            if record.state not in ENDED:
                self.records[record.id] = record
        rows: dict[str, list[AllocationRecord]] = {}
        for row in tx.allocations.all():
            rows.setdefault(row.job, []).append(row)
        self.rows = {job: tuple(of_job) for job, of_job in rows.items()}
        self.queues = tx.queues.all()
        self.draining = dict(tx.memory.load(DRAINS, {}))
        if self._saved is None and (saved := tx.memory.load(PLAN)) is not None:
            self._saved, self.plan = saved, from_json(Plan, json.dumps(saved))

    def put(self, record: JobRecord) -> None:
        """A job after a change of it."""
        self._looked = False
        self.records[record.id] = record
        if record.state not in HOLDING:
            self.rows.pop(record.id, None)

    def hold(self, tx: Transaction, job: str, workers: Mapping[str, int], leaving: Mapping[str, int]) -> bool:
        """Write what a job holds; whether that is another thing than before."""
        rows = tuple(
            AllocationRecord(job=job, node=node, workers=count, leaving=leaving.get(node, 0))
            for node, count in sorted(workers.items())
        )
        if rows == self.rows.get(job, ()):
            return False
        self._looked = False
        tx.allocations.put(job, workers, leaving)
        self.rows[job] = rows
        return True

    def remember(self, tx: Transaction, plan: Plan) -> None:
        """What the next plan has to know of this one."""
        self.plan = Plan(
            actions=tuple(action for action in plan.actions if isinstance(action, Reserve)),
            policy_state=plan.policy_state,
        )
        value = json.loads(to_json(self.plan))
        if value != self._saved:
            tx.memory.save(PLAN, value)
            self._saved = value

    def places(self, job: str) -> dict[str, int]:
        """Node → workers that a job should have there."""
        return staying(self.rows.get(job, ()))

    def workers(self, job: str) -> int:
        """How many a job should have, all in all."""
        return sum(self.places(job).values())

    def holding(self) -> list[JobRecord]:
        """Jobs that have, or are getting, something of the cluster."""
        return [record for record in self.records.values() if record.state in HOLDING]

    def snapshot(self, now: float, nodes: Sequence[ClusterNode]) -> Snapshot:
        """What the scheduler sees."""
        self._look()
        rows = [row for of_job in self.rows.values() for row in of_job]
        return snapshot_of(
            now=now,
            jobs=[known.job for known in self._known.values() if self.resting.get(known.job.id, now) <= now],
            nodes=nodes,
            draining=self.draining,
            queues=self.queues,
            allocations=rows,
            reservations=self.plan.reservations,
            policy_state=self.plan.policy_state,
        )

    def essence(self, now: float, nodes: Sequence[ClusterNode]) -> tuple[object, ...]:
        """What a plan depends on, but for time: where this is the same, so is the plan."""
        self._look()
        resting = frozenset(job for job, until in self.resting.items() if until > now)
        jobs = tuple(known.bare for known in self._known.values())
        return jobs, tuple(nodes), self.draining, self.queues, dict(self.rows), resting

    def _look(self) -> None:
        """Bring the scheduler's view of the jobs up to date; those that have not changed stay the same
        objects."""
        if self._looked:
            return
        self._looked = True
        known: dict[str, _Known] = {}
        for id, record in self.records.items():
            if record.state not in STATES:
                continue
            before = self._known.get(id)
            workers = self.workers(id) if record.state is not JobState.QUEUED else 0
            if before is not None and before.record is record and before.workers == workers:
                known[id] = before
                continue
            job = job_of(record, workers)
            bare = replace(job, version=0)
            if before is not None and before.bare == bare:
                bare = before.bare
            known[id] = _Known(record=record, workers=workers, job=job, bare=bare)
        self._known = known
