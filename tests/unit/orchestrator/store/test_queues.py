"""Queues come and go, but for the default one and those that jobs are in."""

from __future__ import annotations

import pytest

from orchestrator.records.facts import JobState
from orchestrator.store.records import QueueRecord
from tests.support.store_jobs import moved, submitted
from workers.errors import InputError

NIGHT = QueueRecord(
    id="night", weight=3, quota={"gpu_millis": 4000}, limit={"gpu_millis": 8000, "cpu_millis": None}
)


def test_the_default_queue_is_there_from_the_start_and_stays(database):
    with database.reading() as tx:
        assert tx.queues.all() == (QueueRecord(id="default"),)
    with pytest.raises(InputError, match="the default queue stays"), database.transaction() as tx:
        tx.queues.delete("default")


def test_a_queue_is_kept_as_it_was_put_last(database):
    with database.transaction() as tx:
        assert tx.queues.put(NIGHT)
        assert tx.queues.get("night") == NIGHT
        assert not tx.queues.put(QueueRecord(id="night", user_limit={"memory_mib": 1}))
    with database.reading() as tx:
        assert tx.queues.all() == (
            QueueRecord(id="default"),
            QueueRecord(id="night", user_limit={"memory_mib": 1}),
        )


def test_a_queue_stays_while_jobs_are_in_it(database):
    with database.transaction() as tx:
        tx.queues.put(NIGHT)
    job = submitted(database, queue="night")
    with pytest.raises(InputError, match="1 of its jobs are not over"), database.transaction() as tx:
        tx.queues.delete("night")
    moved(database, job, JobState.CANCELLED)
    with database.transaction() as tx:
        tx.queues.delete("night")
    with database.reading() as tx:
        assert tx.jobs.get(job.id).submission.queue == "night"
        with pytest.raises(InputError, match="no queue 'night'"):
            tx.queues.get("night")
