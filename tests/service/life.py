"""Lives a server from its seed: the real controller, scheduler and database on a made-up cluster in fake
time.

People submit, resize, pause and cancel; nodes and supervisors die; the database goes away; the server is
killed between any two effects, and another one comes back.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random

from orchestrator.records.facts import JobState
from orchestrator.scheduler import Config, Policy
from orchestrator.service.controller import Controller
from orchestrator.store.database import Database
from orchestrator.store.records import JobRecord, QueueRecord, Submission
from orchestrator.store.states import ENDED, HOLDING, Intent
from orchestrator.store.transaction import Transaction
from tests.service.cluster import Cluster, ModelExecutor, Violation
from workers.errors import InputError, UnreachableError

QUEUES = (
    QueueRecord(id="default"),
    QueueRecord(id="red", quota={"cpu_millis": 4000}, limit={"cpu_millis": 8000}),
    QueueRecord(id="blue", quota={"cpu_millis": 4000}, user_limit={"cpu_millis": 6000}),
)
_TURN_SECONDS = 0.5
_SECONDS_MAX = 20_000.0


class Killed(Exception):
    """The server is dead, at this very place."""


@dataclass(frozen=True, kw_only=True)
class Life:
    """How one seed went; `failure` is what was wrong."""

    seed: int
    failure: str | None
    jobs: int
    kills: int
    seconds: float
    ends: dict[str, int]


class TroubledDatabase:
    """The real one, which is away now and then; or whoever uses it is killed."""

    def __init__(self, database: Database, run: Run) -> None:
        self._database, self._run = database, run

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """See `Database.transaction`."""
        run = self._run
        run.perhaps_kill("before a transaction")
        if run.cluster.now < run.database_back_at:
            raise UnreachableError("the database is away")
        with self._database.transaction() as tx:
            yield tx
            run.perhaps_kill("before a commit")
        run.perhaps_kill("after a commit")
        if run.rng.random() < run.uncertain:
            raise UnreachableError("the connection broke; nobody knows whether it was committed")

    def reading(self) -> AbstractContextManager[Transaction]:
        """See `Database.reading`."""
        if self._run.cluster.now < self._run.database_back_at:
            raise UnreachableError("the database is away")
        return self._database.reading()


class Run:
    """One life."""

    def __init__(self, seed: int, folder: Path) -> None:
        self.rng = rng = Random(seed)
        self.cluster = Cluster(rng, {f"n{n}": rng.randint(1, 6) for n in range(rng.randint(1, 5))})
        self._database = Database(f"sqlite:///{folder}/life.db")
        with self._database.transaction() as tx:
            for queue in QUEUES:
                tx.queues.put(queue)
        self.config = Config(
            policy=rng.choice(list(Policy)), protect_restarts=rng.choice((0.0, 1.0, 10.0)), resize_every=5.0
        )
        self.deadliness = rng.choice((0.0, 0.01, 0.05))
        self.trouble_seconds = rng.choice((20.0, 40.0, 120.0))
        self.uncertain = rng.choice((0.0, 0.0, 0.02))
        self.database_back_at = 0.0
        self.kills = 0
        self.submitted: dict[str, str] = {}
        self._serve()

    def _serve(self) -> None:
        self.executor = ModelExecutor(self.cluster, self.perhaps_kill)
        database = TroubledDatabase(self._database, self)
        self.controller = Controller(
            database,  # type: ignore[arg-type]
            self.executor,
            config=self.config,
            clock=lambda: 1e9 + self.cluster.now,
        )

    def perhaps_kill(self, where: str) -> None:
        """The server may be killed here."""
        if self.cluster.now < self.trouble_seconds and self.rng.random() < self.deadliness:
            raise Killed(where)

    def live(self) -> dict[str, int]:
        """To the end of all jobs; how many came to which end."""
        while self.cluster.now < _SECONDS_MAX:
            if self.cluster.now < self.trouble_seconds:
                self._trouble()
            elif self._all_over():
                return self._ends()
            self._turn()
            self._check()
            self.cluster.advance(self.rng.uniform(0.1, _TURN_SECONDS))
        left = [(r.submission.name, r.state, r.reason, r.explain) for r in self._records().values()]
        raise Violation(f"these jobs do not end: {left}")

    def _turn(self) -> None:
        try:
            for _ in range(20):
                if not self.controller.turn():
                    self._explained()
                    return
            raise Violation("the loop is never at rest")
        except Killed:
            self.kills += 1
            self.executor.alive = False
            self._serve()
        except UnreachableError:
            self.controller._begin_anew(self.controller._hearing.unheard)

    def _records(self) -> dict[str, JobRecord]:
        with self._database.reading() as tx:
            return {record.id: record for record in tx.jobs.live()}

    # --- what happens ---

    def _trouble(self) -> None:
        rng, dice = self.rng, self.rng.random()
        if dice < 0.15:
            self._submit()
        elif dice < 0.22:
            self._wish()
        elif dice < 0.225 and len(self.cluster.nodes) > 1:
            self.cluster.lose_node(rng.choice(sorted(self.cluster.nodes)))
        elif dice < 0.23:
            self.cluster.nodes[f"m{int(self.cluster.now * 1000)}"] = rng.randint(1, 6)
        elif dice < 0.235:
            self.cluster.lose_supervisor()
        elif dice < 0.24:
            self.database_back_at = self.cluster.now + rng.uniform(1.0, 20.0)
        elif dice < 0.26:
            self.executor.blind = not self.executor.blind

    def _submit(self) -> None:
        rng = self.rng
        least = rng.randint(1, 3)
        spec = {"workers": {"cpus": 1.0}, "checkpoint": {"uri": "file:///x"}}
        submission = Submission(
            name=f"job-{len(self.submitted)}",
            queue=rng.choice(QUEUES).id,
            user=rng.choice(("ann", "bob", "eve")),
            priority=rng.choice((0, 0, 0, 5)),
            min_workers=least,
            max_workers=least + rng.randint(0, 4),
            spec=spec,
            key=f"key-{len(self.submitted)}",
        )
        with self._database.transaction() as tx:
            record, _ = tx.jobs.submit(submission, 1e9 + self.cluster.now)
        self.cluster.work[record.id] = rng.choice((1.0, 5.0, 20.0, 60.0))
        if rng.random() < 0.1:
            self.cluster.failing.add(record.id)
        self.submitted[record.id] = submission.name

    def _wish(self) -> None:
        rng = self.rng
        if not self.submitted:
            return
        job, wishes = rng.choice(sorted(self.submitted)), (Intent.PAUSE, Intent.RUN, Intent.CANCEL)
        most = rng.randint(1, 6)
        with self._database.transaction() as tx:
            try:
                if rng.random() < 0.5:
                    sizes = {"min_workers": rng.randint(1, most), "max_workers": most}
                    tx.jobs.wish(job, who="ann", now=1e9 + self.cluster.now, **sizes)
                else:
                    tx.jobs.wish(job, who="ann", now=1e9 + self.cluster.now, intent=rng.choice(wishes))
            except InputError:
                return

    # --- what must hold ---

    def _explained(self) -> None:
        """Whoever waits knows why."""
        if self.executor.blind:
            return
        for record in self._records().values():
            if record.state is JobState.QUEUED and not record.explain:
                raise Violation(f"{record.submission.name} waits for no reason")

    def _check(self) -> None:
        with self._database.reading() as tx:
            rows = tx.allocations.all()
            states = {record.id: record for record in tx.jobs.live()}
        used: dict[str, int] = {}
        for row in rows:
            used[row.node] = used.get(row.node, 0) + row.workers
            if row.job not in states or states[row.job].state not in HOLDING:
                raise Violation(f"{row.job} holds {row}, and is not at work")
        for node, count in used.items():
            if node in self.cluster.nodes and count > self.cluster.nodes[node]:
                raise Violation(f"{count} workers on {node}, which has room for {self.cluster.nodes[node]}")
        noted = {(row.job, row.node): row.workers for row in rows}
        for supervisor in self.cluster.supervisors.values():
            for node, count in supervisor.held.items():
                if count > noted.get((supervisor.job, node), 0):
                    raise Violation(f"{supervisor} has more on {node} than is noted: {noted}")

    def _all_over(self) -> bool:
        self.executor.blind = False
        records = self._records()
        paused = [record for record in records.values() if record.state is JobState.PAUSED]
        stuck = [r for r in records.values() if r.explain and r.explain["code"] in _HOPELESS]
        with self._database.transaction() as tx:
            for record in paused:
                tx.jobs.wish(record.id, who="ann", now=1e9 + self.cluster.now, intent=Intent.RUN)
            for record in stuck:
                tx.jobs.wish(record.id, who="ann", now=1e9 + self.cluster.now, intent=Intent.CANCEL)
        return not records and not self.cluster.supervisors

    def _ends(self) -> dict[str, int]:
        ends: dict[str, int] = {}
        with self._database.reading() as tx:
            for job, name in self.submitted.items():
                record = tx.jobs.get(job)
                if record.state not in ENDED:
                    raise Violation(f"{name} is lost: {record}")
                if record.state is JobState.DONE and self.cluster.work[job] > 0.0:
                    raise Violation(f"{name} is {record.state} with {self.cluster.work[job]} to do: {record}")
                unlucky = record.reason == "the store does not answer" or job in self.cluster.failing
                if record.state is JobState.FAILED and not unlucky:
                    raise Violation(f"{name} failed: {record.reason}")
                if record.intent is Intent.RUN and record.state is JobState.CANCELLED:
                    raise Violation(f"{name} is cancelled, and nobody wanted that")
                ends[record.state.value] = ends.get(record.state.value, 0) + 1
        return ends


#: On the nodes that are left, these can never run.
_HOPELESS = ("no_such_node", "too_large")


def live(seed: int) -> Life:
    """The life of this seed."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        run = Run(seed, Path(folder))
        failure, ends = None, {}
        try:
            ends = run.live()
        except Exception as error:
            failure = f"seed {seed}, at {run.cluster.now:.2f} s: {type(error).__name__}: {error}"
            if not isinstance(error, Violation):
                raise
        return Life(
            seed=seed,
            failure=failure,
            jobs=len(run.submitted),
            kills=run.kills,
            seconds=run.cluster.now,
            ends=ends,
        )
