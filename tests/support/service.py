"""A service for tests: the real application on a real database, in this process, with or without a socket."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.testclient import TestClient

from orchestrator.api.app import create_app
from orchestrator.api.config import Config
from orchestrator.api.hosting import Listening, listen, make_server, url_of
from orchestrator.records.facts import JobState
from orchestrator.store.database import Database
from orchestrator.store.records import JobRecord, QueueRecord, Role
from workers.errors import InputError
from workers.storage import Store

NOW = 1_000_000_000.0

#: user → role and queues of the token that each has.
PEOPLE: Mapping[str, tuple[Role, tuple[str, ...] | None]] = {
    "ada": (Role.ADMIN, None),
    "vera": (Role.VIEWER, None),
    "sam": (Role.SUBMITTER, None),
    "rosa": (Role.SUBMITTER, ("red",)),
    "rob": (Role.SUBMITTER, ("red",)),
    "blue": (Role.SUBMITTER, ("blue",)),
    "redadmin": (Role.ADMIN, ("red",)),
}


def spec(name: str = "toy", **changes: Any) -> dict[str, Any]:
    """A job's fields."""
    return {
        "name": name,
        "recipe": "recipe:Net",
        "batch": {"size": 8, "virtual_ranks": 4},
        "stop": {"steps": 3},
        "workers": {"min": 1, "max": 2},
        **changes,
    }


@dataclass
class Loop:
    """Stands where the control loop is: tells of one node, and remembers what it was asked for."""

    asked: list[tuple[str, ...]] = field(default_factory=list)
    woken: int = 0

    def wake(self) -> None:
        self.woken += 1

    def nodes(self) -> Sequence[Mapping[str, Any]]:
        return [{"id": "n1", "name": "one", "capacity": {"cpu_millis": 8000}, "used": {"cpu_millis": 2000}}]

    def drain(self, node: str, seconds: float) -> None:
        if node not in ("n1", "one"):
            raise InputError("there is no such node", where=node)
        self.asked.append(("drain", node, f"{seconds:g}"))

    def save(self, job: str) -> None:
        self.asked.append(("save", job))

    def snapshot(self) -> bytes:
        return b'{"now":1}'

    def metrics(self) -> bytes:
        return b"# HELP lockstep_jobs Jobs.\n"


@dataclass
class Lines:
    """The logs of jobs, in memory."""

    text: dict[str, bytes] = field(default_factory=dict)

    def read(self, job: str, after: int, limit: int) -> bytes:
        return self.text.get(job, b"")[after : after + limit]


@dataclass
class Service:
    """The application, and what is behind it."""

    database: Database
    app: FastAPI
    loop: Loop
    logs: Lines
    secrets: dict[str, str]

    def as_(self, user: str, **headers: str) -> TestClient:
        """Requests with somebody's token."""
        token = {"Authorization": f"Bearer {self.secrets[user]}"} if user else {}
        return TestClient(
            self.app, base_url="http://127.0.0.1", headers={**token, **headers}, raise_server_exceptions=False
        )

    def submit(self, name: str = "toy", user: str = "sam", **changes: Any) -> str:
        """Hand in a job; its id."""
        answer = self.as_(user).post("/v1/jobs", json={"spec": spec(name, **changes)})
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    def move(self, job: str, *states: JobState, **changes: Any) -> JobRecord:
        """What the control loop would do."""
        for state in states:
            with self.database.transaction() as tx:
                record = tx.jobs.move(
                    tx.jobs.get(job), state, now=NOW, cause="plan", reason="for a test", who="test", **changes
                )
        return record

    def audit(self) -> list[tuple[str, str, str, bool, str]]:
        """(who, action, target, allowed, detail), the newest first."""
        with self.database.reading() as tx:
            return [(e.who, e.action, e.target, e.allowed, e.detail) for e in tx.audit.page(limit=500)]


def make_service(folder: Path, url: str | None = None, config: Config | None = None) -> Service:
    """A service with its tokens; on a database that is there, a second one of the same."""
    database = Database(url or f"sqlite:///{folder}/lockstep.db")
    with database.transaction() as tx:
        for queue in ("red", "blue"):
            tx.queues.put(QueueRecord(id=queue))
        secrets = {
            user: tx.tokens.create(user=user, role=role, queues=queues, now=NOW)[1]
            for user, (role, queues) in PEOPLE.items()
        }
    return _around(database, folder, secrets, config)


def made_again(service: Service, folder: Path) -> Service:
    """The same service as another process would have it: only the database is left."""
    return _around(service.database, folder, service.secrets, None)


def _around(database: Database, folder: Path, secrets: dict[str, str], config: Config | None) -> Service:
    loop, logs = Loop(), Lines()
    app = create_app(
        database,
        wake=loop.wake,
        bundles=Store((folder / "objects").as_uri()),
        config=config,
        control=loop,
        logs=logs,
    )
    return Service(database=database, app=app, loop=loop, logs=logs, secrets=secrets)


@contextmanager
def serving(app: FastAPI, port: int = 0) -> Iterator[str]:
    """The application at a socket, as `lockstep serve` has it there; its URL."""
    where = Listening(port=port)
    listener = listen(where)
    ready = threading.Event()
    server = make_server(app, where, ready.set)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        assert ready.wait(30), "the server did not start"
        yield url_of(where, listener)
    finally:
        server.should_exit = True
        thread.join(30)
        listener.close()
        assert not thread.is_alive()
