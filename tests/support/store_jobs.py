"""Jobs for tests of the store, and what the tests do with them again and again."""

from __future__ import annotations

from typing import Any

from orchestrator.records.facts import JobState
from orchestrator.store.database import Database
from orchestrator.store.records import JobRecord, Submission

#: From `QUEUED` by legal moves to each state.
ROUTES: dict[JobState, tuple[JobState, ...]] = {
    JobState.QUEUED: (),
    JobState.STARTING: (JobState.STARTING,),
    JobState.RUNNING: (JobState.STARTING, JobState.RUNNING),
    JobState.STOPPING: (JobState.STARTING, JobState.RUNNING, JobState.STOPPING),
    JobState.PAUSED: (JobState.PAUSED,),
    JobState.DONE: (JobState.STARTING, JobState.RUNNING, JobState.DONE),
    JobState.FAILED: (JobState.FAILED,),
    JobState.CANCELLED: (JobState.CANCELLED,),
}


def submission(name: str = "toy", **changes: Any) -> Submission:
    """A small job."""
    fields: dict[str, Any] = {
        "name": name,
        "queue": "default",
        "user": "ann",
        "priority": 0,
        "min_workers": 1,
        "max_workers": 4,
        "spec": {"name": name, "recipe": "recipe:Toy", "batch": {"size": 64}},
    }
    return Submission(**{**fields, **changes})


def submitted(database: Database, name: str = "toy", now: float = 1.0, **changes: Any) -> JobRecord:
    """A job that was handed in."""
    with database.transaction() as tx:
        record, created = tx.jobs.submit(submission(name, **changes), now)
    assert created
    return record


def moved(database: Database, record: JobRecord, *route: JobState, now: float = 2.0) -> JobRecord:
    """The job after some moves."""
    with database.transaction() as tx:
        for state in route:
            record = tx.jobs.move(record, state, now=now, cause="plan", reason=f"to {state}", who="scheduler")
    return record


def in_state(database: Database, state: JobState, name: str = "toy", **changes: Any) -> JobRecord:
    """A job that has come to a state."""
    return moved(database, submitted(database, name, **changes), *ROUTES[state])
