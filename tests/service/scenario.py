"""Jobs of three users in two queues on a cluster of four nodes whose GPUs are only counted: real Ray, a real
server.

Quotas hold; a job of high priority makes others smaller first, and then some stop; all end with the digests
of an undisturbed run. The same must come out when the server is killed again and again meanwhile.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from orchestrator.client import Client, Job
from orchestrator.store.database import Database
from tests.support.bits_jobs import BitsJob
from tests.support.serving import Serving

NODES, CPUS, GPUS = 4, 8, 2
#: The most that the jobs of a queue may have at once.
LIMITS = {"red": 4, "blue": 4}
USERS = {"ann": ("red",), "bob": ("blue",), "eve": ("red", "blue", "default")}
#: Everybody may be stopped at once here, else nothing would happen for minutes.
SCHEDULER = "protect_restarts: 0\nresize_every: 3\n"
#: Jobs take their time until all has happened to them that is to happen.
STEPS, PAUSE, HURRY = 120, 0.2, "hurry"
URGENT = "urgent"
_SECONDS_MAX = 900.0


@dataclass(frozen=True, kw_only=True)
class Result:
    """What came of it.

    Attributes:
        states: each job's last.
        digests: of each job's last state.
        events: of each job.
        most: how many workers each queue had at most.
        seen: what `explain` said of each job while it waited, as (code, facts).
        kills: how often the server was killed.
    """

    states: Mapping[str, str]
    digests: Mapping[str, str]
    events: Mapping[str, list[dict[str, Any]]]
    most: Mapping[str, int]
    seen: Mapping[str, set[str]]
    kills: int
    seconds: float


@dataclass(kw_only=True)
class Scenario:
    """One run of it.

    Attributes:
        jobs: how many ordinary ones; from six on, one has to wait for its queue's limit.
        kills: how often the server is killed at random meanwhile.
    """

    serving: Serving
    template: BitsJob
    folder: Path
    jobs: int = 11
    kills: int = 0
    seed: int = 0
    _clients: dict[str, Client] = field(default_factory=dict)
    _over: threading.Event = field(default_factory=threading.Event)

    def run(self) -> Result:
        """From a new server to the end of all jobs."""
        begin = time.monotonic()
        scheduler = self.folder / "scheduler.yaml"
        scheduler.write_text(SCHEDULER)
        self.serving.scheduler = scheduler
        self.serving.start()
        self._prepare()
        watch = _Watch(self.serving.state / "lockstep.db", self._over)
        killer = _Killer(self.serving, self.kills, Random(self.seed), self._over)
        threads = [threading.Thread(target=work.run, daemon=True) for work in (watch, killer)]
        jobs = self._submit_ordinary()
        for thread in threads:
            thread.start()
        self._wait_for(lambda: self._count(jobs, "running") >= 4, "four jobs that run")
        self._wait_for(lambda: watch.saw("queue_limit"), "a job that waits for its queue's limit")
        jobs[URGENT] = self._submit(URGENT, "eve", "default", least=4, most=4, priority=100)
        self._wait_for(
            lambda: killer.is_over and jobs[URGENT].status()["state"] in ("running", "done"),
            "the urgent job to run, and the last kill",
        )
        (self.folder / HURRY).touch()
        last = {name: job.wait(_SECONDS_MAX) for name, job in jobs.items()}
        self._over.set()
        for thread in threads:
            thread.join(120)
        if watch.failed or killer.failed:
            raise AssertionError(watch.failed or killer.failed)
        return Result(
            states={name: status["state"] for name, status in last.items()},
            digests={name: status["state_digest"] for name, status in last.items()},
            events={name: list(job.events()) for name, job in jobs.items()},
            most=watch.most,
            seen=watch.seen,
            kills=killer.killed,
            seconds=time.monotonic() - begin,
        )

    def _prepare(self) -> None:
        """Queues, and a token for each user."""
        with self.serving.client() as admin:
            for queue, gpus in LIMITS.items():
                admin.wire.put(f"/v1/queues/{queue}", {"limit": {"gpu_millis": 1000 * gpus}})
            for user, queues in USERS.items():
                wish = {"user": user, "role": "submitter", "queues": list(queues)}
                made = admin.wire.post("/v1/tokens", wish)
                self._clients[user] = self.serving.client(made["secret"])

    def _submit_ordinary(self) -> dict[str, Job]:
        turns = [("ann", "red"), ("bob", "blue"), ("eve", "blue"), ("eve", "red")]
        found = {}
        for number in range(self.jobs):
            user, queue = turns[number % len(turns)]
            name = f"{user}-{number}"
            least = 2 if user == "bob" else 1  # so loans alone do not make enough room
            found[name] = self._submit(name, user, queue, least=least, most=2)
        return found

    def _submit(self, name: str, user: str, queue: str, *, least: int, most: int, priority: int = 0) -> Job:
        job = self.template.copy(self.folder / name)
        spec = json.loads(job.file.read_text())
        spec |= {
            "name": name,
            "queue": queue,
            "priority": priority,
            "workers": {"min": least, "max": most, "gpus": 1, "train_on": "cpu", "standby": False},
        }
        job.file.write_text(json.dumps(spec))
        return self._clients[user].submit(job.file, key=name)

    def _count(self, jobs: Mapping[str, Job], state: str) -> int:
        return sum(job.status()["state"] == state for job in jobs.values())

    def _wait_for(self, condition: Callable[[], bool], what: str) -> None:
        until = time.monotonic() + _SECONDS_MAX
        while not condition():
            if time.monotonic() > until:
                raise AssertionError(f"waited in vain for {what}:\n{self.serving.log()}")
            time.sleep(0.3)


class _Watch:
    """Looks at the database, which is there also when no server is."""

    def __init__(self, file: Path, over: threading.Event) -> None:
        self._database, self._over = Database(f"sqlite:///{file}"), over
        self.most: dict[str, int] = {}
        self.seen: dict[str, set[str]] = {}
        self.failed: str | None = None

    def saw(self, code: str) -> bool:
        """Whether a job waited for this reason."""
        return any(code in codes for codes in list(self.seen.values()))

    def run(self) -> None:
        while not self._over.wait(0.2):
            with self._database.reading() as tx:
                jobs = {record.id: record for record in tx.jobs.live()}
                rows = tx.allocations.all()
            nodes: dict[str, int] = {}
            queues: dict[str, int] = {}
            for row in rows:
                queue = jobs[row.job].submission.queue
                nodes[row.node] = nodes.get(row.node, 0) + row.workers
                queues[queue] = queues.get(queue, 0) + row.workers
            for queue, workers in queues.items():
                self.most[queue] = max(workers, self.most.get(queue, 0))
            if any(workers > GPUS for workers in nodes.values()):
                self.failed = f"more workers than GPUs: {nodes}"
            for record in jobs.values():
                if record.state == "queued" and record.explain:
                    self.seen.setdefault(record.submission.name, set()).add(record.explain["code"])


class _Killer:
    """Kills the server at random, and starts another one."""

    def __init__(self, serving: Serving, kills: int, rng: Random, over: threading.Event) -> None:
        self._serving, self._kills, self._rng, self._over = serving, kills, rng, over
        self.killed = 0
        self.failed: str | None = None

    @property
    def is_over(self) -> bool:
        """Whether nothing more is to be expected of it."""
        return self.killed >= self._kills or self.failed is not None

    def run(self) -> None:
        try:
            while self.killed < self._kills and not self._over.wait(self._rng.uniform(0.0, 4.0)):
                self._serving.kill()
                self.killed += 1
                self._serving.start()
        except AssertionError as error:
            self.failed = str(error)
