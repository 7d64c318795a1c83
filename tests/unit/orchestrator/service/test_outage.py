"""PostgreSQL is frozen under a server, which has lost nothing afterwards, or another server takes it over."""

from __future__ import annotations

import threading
from pathlib import Path
from random import Random

import pytest

from orchestrator.records.facts import JobState
from orchestrator.service.controller import Controller
from orchestrator.store import patience
from orchestrator.store.database import Database
from tests.service.cluster import Cluster, ModelExecutor
from tests.support.postgresql import PostgresqlServer
from tests.support.service import make_service, spec

pytestmark = pytest.mark.postgresql
PATIENCE_SECONDS = 60


def test_a_frozen_database_is_503_and_the_loop_goes_on_when_it_thaws(
    postgresql: PostgresqlServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
):
    monkeypatch.setattr(patience, "ANSWER_SECONDS_MAX", 0.5)
    service = make_service(tmp_path, postgresql.make_database() + "&connect_timeout=2")
    controller = Controller(
        service.database, ModelExecutor(Cluster(Random(0), {"n1": 8}), lambda where: None)
    )
    loop = threading.Thread(target=controller.run)
    loop.start()
    try:
        with service.as_("sam") as client:
            first = client.post("/v1/jobs", json={"spec": spec("first")}).json()["id"]
            wait_for(service.database, first, JobState.STARTING)
            postgresql.freeze()
            refused = client.post("/v1/jobs", json={"spec": spec("second"), "key": "second"})
            assert refused.status_code == 503
            assert "the database does not answer" in refused.json()["error"]["what"]
            wait_until(lambda: "the database does not answer" in caplog.text)
            postgresql.thaw()
            answer = client.post("/v1/jobs", json={"spec": spec("second"), "key": "second"})
            assert answer.status_code in (200, 201)
            controller.wake()
            wait_for(service.database, answer.json()["id"], JobState.STARTING)
    finally:
        postgresql.thaw()
        controller.stop()
        loop.join(PATIENCE_SECONDS)
        service.database.close()


def test_a_loop_whose_database_another_server_has_taken_over_ends(postgresql: PostgresqlServer):
    url = postgresql.make_database()
    with Database(url) as old, Database(url) as new, old.served():
        controller = Controller(old, ModelExecutor(Cluster(Random(0), {"n1": 8}), lambda where: None))
        loop = threading.Thread(target=controller.run)
        loop.start()
        postgresql.cut_locks()
        with new.served():
            loop.join(PATIENCE_SECONDS)
        controller.stop()
    assert controller.deposed is not None


def wait_for(database: Database, job: str, state: JobState) -> None:
    def is_so() -> bool:
        with database.reading() as tx:
            return tx.jobs.get(job).state is state

    wait_until(is_so)


def wait_until(condition) -> None:
    pause = threading.Event()
    for _ in range(PATIENCE_SECONDS * 100):
        if condition():
            return
        pause.wait(0.01)
    raise AssertionError("waited in vain")
