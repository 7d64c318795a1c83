"""The jobs in memory are those in the database, and only what is new is read."""

from __future__ import annotations

import pytest

from orchestrator.records.facts import JobState
from orchestrator.store.mirror import LiveJobs
from tests.support.store_jobs import ROUTES, moved, submitted


def test_a_mirror_follows_what_comes_changes_and_ends(database):
    old = submitted(database, "old")
    mirror = LiveJobs()
    with database.reading() as tx:
        assert mirror.refresh(tx) == [old]
        assert mirror.refresh(tx) == []
    new = submitted(database, "new")
    old = moved(database, old, JobState.STARTING)
    short = moved(database, submitted(database, "short"), JobState.CANCELLED)
    with database.reading() as tx:
        assert mirror.refresh(tx) == [old, new, short]
        assert list(mirror.jobs.values()) == [old, new] == tx.jobs.live()
    old = moved(database, old, *ROUTES[JobState.DONE][1:])
    with database.reading() as tx:
        assert mirror.refresh(tx) == [old]
    assert list(mirror.jobs.values()) == [new]


def test_what_may_never_be_committed_is_not_mirrored(database):
    with pytest.raises(ValueError, match=r"Database\.reading"), database.transaction() as tx:
        LiveJobs().refresh(tx)
