"""One server works on a database; another one is refused, or takes over for good."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.api.hosting import Listening
from orchestrator.service.serve import Options, serve
from orchestrator.store import lease
from orchestrator.store.database import Database
from orchestrator.store.lease import Deposed
from tests.support.postgresql import PostgresqlServer
from tests.support.store_jobs import submission, submitted
from workers.errors import InputError

HOLDER = """
import sys
from orchestrator.store.database import Database

with Database(sys.argv[1]).served():
    print("works", flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "TAKE_SECONDS_MAX", 0.0)
    monkeypatch.setattr(lease, "LOOK_SECONDS", 0.0)


@pytest.fixture
def other(url: str) -> Iterator[Database]:
    """The same database, as another process opens it."""
    with Database(url) as opened:
        yield opened


def test_a_second_server_is_refused_and_let_in_when_the_first_has_ended(database, other, url, tmp_path):
    with database.served():
        with pytest.raises(InputError, match="another server is at work on this database: process"):
            enter(other)
        with pytest.raises(InputError, match="another server is at work on this database"):
            serve(Options(listening=Listening(), state=Path(tmp_path / "other"), database=url))
        job = submitted(database)
        token = submitted(other, "beside it")  # as `lockstep token create --database` does
    with other.served(), other.reading() as tx:
        assert tx.jobs.live() == [job, token]


def test_a_server_that_is_killed_keeps_nobody_out(database, url, monkeypatch):
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "works\n"
        with pytest.raises(InputError, match=f"process {process.pid} on "):
            enter(database)
        process.kill()
    monkeypatch.setattr(lease, "TAKE_SECONDS_MAX", 60.0)
    enter(database)


@pytest.fixture
def shared(postgresql: PostgresqlServer) -> str:
    return postgresql.make_database()


@pytest.mark.postgresql
def test_whoever_lost_its_lock_and_was_replaced_writes_nothing_more(postgresql, shared):
    with Database(shared) as old, Database(shared) as new, old.served():
        job = submitted(old)
        postgresql.cut_locks()
        with new.served():
            for _ in range(2):
                with pytest.raises(Deposed, match="another server works on this database now"):
                    submitted(old, "never")
            later = submitted(new, "later")
            with old.reading() as tx:
                assert tx.jobs.live() == [job, later]
        with pytest.raises(Deposed):
            submitted(old, "never")


@pytest.mark.postgresql
def test_whoever_lost_its_lock_and_was_not_replaced_takes_it_again(postgresql, shared):
    with Database(shared) as old, Database(shared) as new, old.served():
        postgresql.cut_locks()
        submitted(old)
        with pytest.raises(InputError, match="another server is at work"):
            enter(new)
        submitted(old, "another")


@pytest.mark.postgresql
def test_a_restart_of_the_database_deposes_nobody(postgresql, shared):
    with Database(shared) as old, Database(shared) as new, old.served():
        postgresql.stop()
        postgresql.start()
        submitted(old)
        with pytest.raises(InputError, match="another server is at work"):
            enter(new)


def enter(database: Database) -> None:
    with database.served(), database.transaction() as tx:
        tx.jobs.submit(submission("entered"), 1.0)
