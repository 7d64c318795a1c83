"""The life of a job on a server: one table of legal transitions. Pure.

Only the control loop moves jobs. What people want is noted beside the state, as an intent, and the loop acts
on it: so nobody races with it, and what was asked for survives any crash.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from orchestrator.records.facts import JobState

#: From each state, where a job may go.
LEGAL: Mapping[JobState, frozenset[JobState]] = {
    JobState.QUEUED: frozenset({JobState.STARTING, JobState.PAUSED, JobState.FAILED, JobState.CANCELLED}),
    JobState.STARTING: frozenset(
        {
            JobState.RUNNING,
            JobState.STOPPING,
            JobState.QUEUED,  # it could not be started, or its cluster is gone
            JobState.DONE,
            JobState.FAILED,
            JobState.CANCELLED,
        }
    ),
    JobState.RUNNING: frozenset(
        {JobState.STOPPING, JobState.QUEUED, JobState.DONE, JobState.FAILED, JobState.CANCELLED}
    ),
    JobState.STOPPING: frozenset(
        {JobState.QUEUED, JobState.PAUSED, JobState.DONE, JobState.FAILED, JobState.CANCELLED}
    ),
    JobState.PAUSED: frozenset({JobState.QUEUED, JobState.CANCELLED}),
    JobState.DONE: frozenset(),
    JobState.FAILED: frozenset(),
    JobState.CANCELLED: frozenset(),
}

#: What ended jobs are.
ENDED = frozenset(state for state, onward in LEGAL.items() if not onward)
#: Jobs in these hold an allocation.
HOLDING = frozenset({JobState.STARTING, JobState.RUNNING, JobState.STOPPING})


class Intent(StrEnum):
    """What the job's owner wants of it."""

    RUN = "run"
    PAUSE = "pause"  # save, give the room back, and wait for `resume`
    CANCEL = "cancel"


class Illegal(Exception):
    """A transition that the table does not have: a bug of ours. The message tells the job's story."""


def check(job: str, before: JobState, after: JobState, story: str) -> None:
    """Refuse a transition that is not in the table.

    Args:
        job: its id, for the message.
        before, after: the states.
        story: the job's latest events, a line each.

    Raises:
        Illegal: it is not.
    """
    if after not in LEGAL[before]:
        raise Illegal(f"job {job} cannot go from {before} to {after}; its story:\n{story}")
