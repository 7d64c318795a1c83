"""PostgreSQL goes away and comes back: calls say so meanwhile, and nothing is lost or done twice."""

from __future__ import annotations

import signal
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from orchestrator.store import patience
from orchestrator.store.database import Database
from tests.support.postgresql import PostgresqlServer
from tests.support.store_jobs import submission, submitted
from workers.errors import UnreachableError

pytestmark = pytest.mark.postgresql
CLIENTS, JOBS_EACH, OUTAGES = 4, 25, 3


@pytest.fixture
def database(postgresql: PostgresqlServer):
    with Database(postgresql.make_database()) as opened:
        yield opened


@pytest.fixture
def stopped(postgresql: PostgresqlServer):
    """Call it to stop the server; it runs again in the end."""
    yield postgresql.stop
    if postgresql.process is None:
        postgresql.start()


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT, signal.SIGKILL])
def test_a_server_that_is_gone_is_told_of_and_works_again_when_it_is_back(database, postgresql, stopped, how):
    first = submitted(database, "first")
    with database.reading() as tx:
        assert tx.jobs.live() == [first]
    stopped(how)
    for _ in range(2):
        for use in (database.transaction, database.reading):
            with pytest.raises(UnreachableError, match="the database does not answer"), use():
                pass
    with pytest.raises(UnreachableError, match="the database does not answer"):
        Database(postgresql.url())
    postgresql.start()
    second = submitted(database, "second")
    with database.reading() as tx:
        assert tx.jobs.live() == [first, second]


@pytest.mark.parametrize("moment", ["before a statement", "before the commit", "while reading"])
def test_a_connection_that_is_cut_in_a_block_undoes_it_and_the_next_block_works(database, postgresql, moment):
    def write() -> None:
        with database.transaction() as tx:
            tx.jobs.submit(submission("never"), 1.0)
            postgresql.cut(database._backend.name)
            if moment == "before a statement":
                tx.jobs.submit(submission("never either"), 1.0)

    def read() -> None:
        with database.reading() as tx:
            tx.jobs.live()
            postgresql.cut(database._backend.name)
            tx.jobs.live()

    with pytest.raises(UnreachableError, match="the database does not answer"):
        read() if moment == "while reading" else write()
    job = submitted(database)
    with database.reading() as tx:
        assert tx.jobs.live() == [job]


@pytest.fixture
def frozen(postgresql: PostgresqlServer, monkeypatch: pytest.MonkeyPatch):
    """Call it to freeze the server; it goes on in the end. Nobody waits long meanwhile."""
    monkeypatch.setattr(patience, "ANSWER_SECONDS_MAX", 0.5)
    yield postgresql.freeze
    postgresql.thaw()


def test_a_server_that_is_frozen_holds_nobody_up_for_ever_and_loses_nothing(postgresql, frozen):
    with Database(postgresql.make_database() + "&connect_timeout=2") as database:
        first = submitted(database, "first")

        def freeze_in_a_block() -> None:
            with database.transaction() as tx:
                tx.jobs.submit(submission("second", key="second"), 1.0)
                frozen()

        with pytest.raises(UnreachableError, match="the database does not answer"):
            freeze_in_a_block()
        with pytest.raises(UnreachableError, match="the database does not answer"), database.reading():
            pass
        postgresql.thaw()
        with database.transaction() as tx:  # nobody knows whether the commit came through: so the same again
            second, _ = tx.jobs.submit(submission("second", key="second"), 1.0)
        with database.reading() as tx:
            assert tx.jobs.live() == [first, second]


@pytest.mark.slow
def test_clients_who_try_again_with_the_same_key_hand_in_each_job_once(database, postgresql, stopped):
    """Nobody knows whether a commit that broke off is done; the key makes it the same."""
    milestones = [threading.Event() for _ in range(OUTAGES)]
    done: list[str] = []

    def client(number: int) -> int:
        failures = 0
        for i in range(JOBS_EACH):
            name = f"c{number}-{i}"
            while True:
                try:
                    with database.transaction() as tx:
                        tx.jobs.submit(submission(name, key=name), 1.0)
                    break
                except UnreachableError:
                    failures += 1
                    back.wait()
            done.append(name)
            for outage, event in enumerate(milestones, 1):
                if len(done) >= outage * CLIENTS * JOBS_EACH // (OUTAGES + 1):
                    event.set()
        return failures

    back = threading.Event()
    back.set()
    with ThreadPoolExecutor(CLIENTS) as pool:
        clients = [pool.submit(client, number) for number in range(CLIENTS)]
        for event in milestones:
            assert event.wait(60)
            back.clear()
            stopped(signal.SIGQUIT)
            postgresql.start()
            back.set()
        assert sum(one.result() for one in clients) > 0
    with database.reading() as tx:
        names = [job.submission.name for job in tx.jobs.live()]
        events = tx.events.after(0)
    assert sorted(names) == sorted(done)
    assert len(set(names)) == len(names) == CLIENTS * JOBS_EACH == len(events)
