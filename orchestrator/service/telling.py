"""What Ray and supervisors say, in the control loop's words. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orchestrator.records.facts import JobState
from orchestrator.records.news import News
from orchestrator.records.steplog import EventEntry
from orchestrator.scheduler.snapshot import Resources
from orchestrator.service.executor import ClusterNode, Heard, Order, Over, Seen, Told
from orchestrator.spec.fields import seconds

_TRAINS = (JobState.RUNNING, JobState.PAUSED)
_STOP_SECONDS = 120.0  # that a job may take to save and end


def report_of(order: Order, news: News) -> Seen | Over:
    """News of the supervisor of this order's attempt."""
    told = tuple(_told(entry) for entry in news.entries if isinstance(entry, EventEntry))
    common: dict[str, Any] = {
        "job": order.job,
        "attempt": order.attempt,
        "view": news.view.to_json(),
        "told": told,
        "heard": Heard(incarnation=news.incarnation, position=news.position),
    }
    if news.outcome is not None:
        return Over(outcome=news.outcome, **common)
    running = news.view.status.state in _TRAINS
    return Seen(running=running, held=news.held, heeded=news.heeded, **common)


def node_of(facts: Mapping[str, Any]) -> ClusterNode:
    """A node as Ray has it; memory in bytes there."""
    labels = {key: value for key, value in (facts.get("Labels") or {}).items() if key != "ray.io/node-id"}
    has = facts["Resources"]
    return ClusterNode(
        id=facts["NodeID"],
        name=facts["NodeManagerHostname"],
        zone=labels.get("ray.io/availability-zone", ""),
        labels=labels,
        capacity=Resources(
            cpu_millis=int(1000 * has.get("CPU", 0.0)),
            gpu_millis=int(1000 * has.get("GPU", 0.0)),
            memory_mib=int(has.get("memory", 0.0)) >> 20,
        ),
    )


def stop_seconds(order: Order) -> float:
    """How long a job may take to save and end: a script job as long as its file says."""
    grace = order.spec.get("grace")
    return max(_STOP_SECONDS, seconds(grace)) if isinstance(grace, str) else _STOP_SECONDS


def first_line(error: BaseException) -> str:
    """What an error says, without what Ray appends to it."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _told(entry: EventEntry) -> Told:
    facts = entry.to_json()
    data = {name: facts[name] for name in ("step", "worker", "values") if facts.get(name) is not None}
    return Told(
        time=entry.time, kind=entry.kind.value, cause=entry.cause or "", reason=entry.reason or "", data=data
    )
