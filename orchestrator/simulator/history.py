"""What a server's jobs were like, as a trace: a policy can be tried on one's own history."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from orchestrator.simulator.trace import TraceJob

_ENDED = frozenset({"done", "failed", "cancelled"})


def trace_of(jobs: Iterable[Mapping[str, Any]]) -> list[TraceJob]:
    """Jobs that are over, as `GET /v1/jobs` shows them → a trace that begins with the first of them.

    A trace's workers have a GPU each: one with several counts as so many, one without as one. What a job was
    given is taken to be what it needs, and as much on any number of workers. One that never started is left
    out; of one that failed or was cancelled nobody knows what it would have needed: it needs what it had.
    """
    over = [job for job in jobs if job["state"] in _ENDED and job["service"] > 0]
    first = min((job["submitted_at"] for job in over), default=0.0)
    found = [_job(job, job["submitted_at"] - first) for job in over]
    return sorted(found, key=lambda job: job.submitted_at)


def _job(job: Mapping[str, Any], at: float) -> TraceJob:
    each = max(1, round(job["gpus"]))
    units = job["gpus"] or job["cpus"]  # what service counts
    gpus = each * job["min_workers"]
    return TraceJob(
        id=job["id"],
        submitted_at=round(at, 3),
        seconds=round(job["service"] / (units * job["min_workers"]), 3),
        gpus=gpus,
        queue=job["queue"],
        user=job["user"],
        priority=job["priority"],
        min_workers=gpus,
        max_workers=each * job["max_workers"],
    )
