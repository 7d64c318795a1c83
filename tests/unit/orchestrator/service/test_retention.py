"""What is old goes, a little at a time, and nothing else does."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.records.facts import JobState
from orchestrator.service import retention
from orchestrator.service.retention import DAY_SECONDS, REST_SECONDS, Keep, Retention
from orchestrator.store.database import Database
from orchestrator.store.records import JobRecord, Note
from tests.support.store_jobs import moved, submitted

NOW = 1000 * DAY_SECONDS
KEEP = Keep(event_days=30.0, audit_days=365.0)


def ended(database: Database, name: str, days_ago: float, notes: int = 0) -> JobRecord:
    then = NOW - days_ago * DAY_SECONDS
    record = submitted(database, name, now=then)
    with database.transaction() as tx:
        tx.events.add_all([(record.id, Note(kind="told"), then)] * notes)
    return moved(database, record, JobState.CANCELLED, now=then)


def told(database: Database) -> set[str]:
    with database.reading() as tx:
        return {event.job for event in tx.events.after(0, limit=10**6)}


def a_pass(database: Database, keeper: Retention, now: float) -> int:
    """How many steps it took."""
    steps = 1
    while keeper.sweep(database, now):
        steps += 1
    return steps


@pytest.fixture
def database(tmp_path: Path):
    with Database(f"sqlite:///{tmp_path}/lockstep.db") as opened:
        yield opened


def test_events_of_jobs_that_ended_long_ago_go_and_all_others_stay(database, monkeypatch):
    monkeypatch.setattr(retention, "ROWS_MAX", 7)
    waits = submitted(database, "waits", now=NOW - 900 * DAY_SECONDS)
    old = [ended(database, f"old-{n}", 31 + 10 * n, notes=20) for n in range(3)]
    young = ended(database, "young", 29)
    keeper = Retention(KEEP)
    assert a_pass(database, keeper, NOW) > 3 * 20 // 7
    assert told(database) == {waits.id, young.id}
    with database.reading() as tx:
        assert {tx.jobs.get(job.id).state for job in old} == {JobState.CANCELLED}
        assert tx.events.newest() == max(event.number for event in tx.events.after(0))


def test_the_next_pass_takes_what_has_become_old_meanwhile(database):
    keeper = Retention(KEEP)
    young = ended(database, "young", 29)
    a_pass(database, keeper, NOW)
    later = NOW + 2 * DAY_SECONDS
    assert not keeper.sweep(database, NOW + REST_SECONDS / 2)
    assert told(database) == {young.id}
    a_pass(database, keeper, later)
    assert told(database) == set()
    next_one = submitted(database, "next", now=later)
    with database.reading() as tx:  # a number is never given twice: followers count on it
        assert tx.events.after(0)[0].number > 2
        assert tx.events.after(0)[0].job == next_one.id


def test_the_audit_log_keeps_its_last_year(database, monkeypatch):
    monkeypatch.setattr(retention, "ROWS_MAX", 10)
    with database.transaction() as tx:
        for day in range(400, 0, -1):
            then = NOW - day * DAY_SECONDS
            tx.audit.add(
                now=then, who="ann", action="submit", target="", address="", allowed=True, detail=str(day)
            )
    a_pass(database, Retention(KEEP), NOW)
    with database.reading() as tx:
        assert [int(entry.detail) for entry in tx.audit.page(limit=500)] == list(range(1, 366))
