"""Blocks follow one another, share commits, and fail alone, unless the commit itself fails."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from sqlalchemy import event

from orchestrator.store.database import Database
from orchestrator.store.transaction import Transaction
from tests.support.store_jobs import submission, submitted
from workers.errors import InputError, UnreachableError

BLOCKS = 8
PATIENCE_SECONDS = 60


def act(database: Database, block: Callable[[Transaction], object]) -> object:
    with database.transaction() as tx:
        return block(tx)


@contextmanager
def all_at_once(
    database: Database, blocks: list[Callable[[Transaction], object]]
) -> Iterator[tuple[Transaction, list[Future[object]]]]:
    """A block of the caller's, and behind it, waiting in order, these; it is left with them still waiting."""
    with ThreadPoolExecutor(len(blocks)) as pool, database.transaction() as tx:
        results = []
        for count, block in enumerate(blocks, 1):
            results.append(pool.submit(act, database, block))
            wait_for(lambda count=count: database._writer.waiting == count)
        yield tx, results


def wait_for(condition: Callable[[], bool]) -> None:
    pause = threading.Event()
    for _ in range(PATIENCE_SECONDS * 1000):
        if condition():
            return
        pause.wait(0.001)
    raise AssertionError("waited in vain")


@contextmanager
def commits(database: Database) -> Iterator[list[int]]:
    """How many there are while the block runs, as the length of a list."""
    seen: list[int] = []

    def note(connection: object) -> None:
        seen.append(1)

    event.listen(database._backend._writers, "commit", note)
    yield seen
    event.remove(database._backend._writers, "commit", note)


def test_all_who_waited_share_a_commit_and_come_in_their_order(database):
    blocks = [lambda tx, i=i: tx.jobs.submit(submission(f"j{i}"), 1.0)[0].number for i in range(BLOCKS)]
    with commits(database) as seen:
        with all_at_once(database, blocks) as (tx, results):
            first = tx.jobs.submit(submission("first"), 1.0)[0].number
        assert [result.result() for result in results] == list(range(first + 1, first + 1 + BLOCKS))
        assert len(seen) == 1
    with database.reading() as tx:
        assert len(tx.jobs.live()) == 1 + BLOCKS


def test_whoever_fails_takes_nobody_along(database):
    def fail(tx: Transaction) -> None:
        tx.jobs.submit(submission("never"), 1.0)
        raise ZeroDivisionError

    blocks = [
        lambda tx: tx.jobs.submit(submission("a"), 1.0),
        fail,
        lambda tx: tx.jobs.submit(submission("b"), 1.0),
    ]
    with all_at_once(database, blocks) as (tx, (a, failed, b)):
        tx.jobs.submit(submission("first"), 1.0)
    assert a.result()[0].submission.name == "a"
    assert b.result()[0].submission.name == "b"
    with pytest.raises(ZeroDivisionError):
        failed.result()
    with database.reading() as tx:
        assert [job.submission.name for job in tx.jobs.live()] == ["first", "a", "b"]
        assert len(tx.events.after(0)) == 3


def test_only_one_of_those_who_want_a_name_at_once_gets_it(database):
    blocks = [lambda tx: tx.jobs.submit(submission("wanted"), 1.0)] * BLOCKS
    with all_at_once(database, blocks) as (_, results):
        pass
    refused = [result.exception() for result in results]
    assert refused.count(None) == 1
    assert sum(isinstance(error, InputError) for error in refused) == BLOCKS - 1


def test_the_same_key_at_once_is_one_job(database):
    blocks = [lambda tx: tx.jobs.submit(submission(key="k"), 1.0)] * BLOCKS
    with all_at_once(database, blocks) as (_, results):
        pass
    answers = [result.result() for result in results]
    assert len({job.id for job, _ in answers}) == 1
    assert sum(created for _, created in answers) == 1


def test_readers_see_what_is_committed_and_do_not_wait(database):
    with database.transaction() as tx:
        tx.jobs.submit(submission(), 1.0)
        with database.reading() as reader:
            assert reader.jobs.live() == []
    with database.reading() as reader:
        assert len(reader.jobs.live()) == 1


def test_a_reader_sees_one_moment(database):
    with database.reading() as tx:
        assert tx.jobs.live() == []
        submitted(database)
        assert tx.jobs.live() == [] == tx.events.after(0)


def test_a_reader_writes_nothing(database):
    with pytest.raises(Exception, match=r"readonly|read-only"), database.reading() as tx:
        tx.memory.save("a", 1)
    with database.transaction() as tx:
        tx.memory.save("a", 2)


def test_a_transaction_inside_a_transaction_is_refused(database):
    with database.transaction() as tx:
        tx.memory.save("a", 1)
        with pytest.raises(RuntimeError, match="inside a transaction"), database.transaction():
            pass
    with database.reading() as tx:
        assert tx.memory.load("a") == 1


def test_a_full_disk_undoes_the_whole_commit_and_harms_nothing_after_it(tmp_path):
    with Database(f"sqlite:///{tmp_path}/lockstep.db") as database:
        with database._writer.block() as connection:
            pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
            connection.exec_driver_sql(f"PRAGMA max_page_count = {pages + 8}")
        blocks = [
            lambda tx: tx.memory.save("small", 1),
            lambda tx: tx.memory.save("large", "x" * 2**20),
            lambda tx: tx.memory.save("after", 2),
        ]
        full = pytest.raises(UnreachableError, match="SQLITE_FULL")
        with full, all_at_once(database, blocks) as (tx, (small, large, after)):
            tx.memory.save("first", 0)
        for result in (small, large):
            with pytest.raises(UnreachableError, match="SQLITE_FULL"):
                result.result()
        after.result()  # in a transaction of its own
        with database.reading() as tx:
            kept = [tx.memory.load(key) for key in ("first", "small", "large", "after")]
        assert kept == [None, None, None, 2]
