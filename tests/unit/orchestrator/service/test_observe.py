"""Records and nodes as the scheduler sees them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.records.facts import JobState
from orchestrator.scheduler import plan, recheck
from orchestrator.scheduler.actions import Resize, Start
from orchestrator.scheduler.at_work import service
from orchestrator.scheduler.codec import from_json, to_json
from orchestrator.scheduler.snapshot import NOTHING_REMEMBERED, Place, Resources, Snapshot, Within
from orchestrator.scheduler.snapshot import JobState as Scheduled
from orchestrator.service.executor import ClusterNode
from orchestrator.service.observe import (
    STATES,
    fewer,
    having,
    job_of,
    places_of,
    service_of,
    snapshot_of,
    staying,
)
from orchestrator.store.records import AllocationRecord, JobRecord, QueueRecord, Submission

places = st.dictionaries(st.sampled_from("abcd"), st.integers(1, 4), max_size=4)


def record(**changes: Any) -> JobRecord:
    """A job that waits."""
    spec: Mapping[str, Any] = changes.pop("spec", {"workers": {"cpus": 1.5, "gpus": 1}})
    names = ("queue", "user", "priority")
    of_submission = {name: changes.pop(name) for name in names if name in changes}
    sizes = {"min_workers": changes.get("min_workers", 1), "max_workers": changes.get("max_workers", 4)}
    submission = Submission(
        **{"name": "job", "queue": "default", "user": "ann", "priority": 0, **of_submission},
        spec=spec,
        **sizes,
    )
    common = {"id": "j0", "number": 1, "state": JobState.QUEUED, "version": 3, "submitted_at": 10.0}
    return JobRecord(**{**common, **sizes, **changes}, submission=submission)


@st.composite
def records(draw: st.DrawFn) -> JobRecord:
    """Any job that waits or is at work."""
    least = draw(st.integers(1, 4))
    return record(
        id=draw(st.sampled_from("xyz")),
        state=draw(st.sampled_from(sorted(STATES))),
        min_workers=least,
        max_workers=least + draw(st.integers(0, 4)),
        attained_service=draw(st.floats(0, 1e6)),
        last_change_at=draw(st.floats(0, 1e6)),
        attempt=draw(st.integers(0, 5)),
        spec={"workers": {"cpus": draw(st.sampled_from([0.5, 1.0, 2.0])), "gpus": draw(st.integers(0, 2))}},
    )


def test_a_job_file_says_what_is_asked_of_the_scheduler():
    asked = {
        "nodes": {"gpu": "h100"},
        "within": "zone",
        "preemptible": False,
        "min_runtime": "2m",
        "estimate": "1h",
        "deadline": "1d",
    }
    job = job_of(record(spec={"workers": {"cpus": 2.5, "gpus": 0.5}, "schedule": asked}), 0)
    assert job.request == Resources(cpu_millis=2500, gpu_millis=500)
    assert (job.selector, job.within, job.preemptible) == ({"gpu": "h100"}, Within.ZONE, False)
    assert (job.min_runtime, job.estimate, job.deadline) == (120.0, 3600.0, 10.0 + 86_400.0)
    assert (job.version, job.state) == (3, Scheduled.PENDING)


@pytest.mark.parametrize(("uri", "since"), [(None, 70.0), ("file:///runs", None)])
def test_what_a_job_that_cannot_save_has_done_is_lost_when_it_is_stopped(uri, since):
    running = record(state=JobState.RUNNING, started_at=70.0, spec={"checkpoint": {"uri": uri}})
    assert job_of(running, 1).checkpoint_at == since


@given(records(), st.integers(0, 8), st.floats(0, 1e6))
def test_what_a_job_has_had_is_the_same_however_it_is_shown(known: JobRecord, workers: int, later: float):
    now = known.last_change_at + later
    shown = service(job_of(known, workers), workers, now)
    assert shown == pytest.approx(service_of(known, workers, now), abs=1e-3, rel=1e-9)


@given(records(), st.integers(0, 8))
def test_one_with_too_few_workers_goes_on_with_those_that_it_has(known: JobRecord, workers: int):
    job = job_of(known, workers)
    if known.state is JobState.RUNNING and 0 < workers < known.min_workers:
        assert (job.min_workers, job.max_workers) == (workers, known.max_workers)
    else:
        assert job.min_workers == known.min_workers


@given(places, places)
def test_an_allocation_holds_what_should_be_there_and_what_is_there(wanted, there):
    workers, leaving = having(wanted, there)
    for node in {*wanted, *there}:
        assert workers[node] == max(wanted.get(node, 0), there.get(node, 0))
        assert workers[node] - leaving.get(node, 0) == wanted.get(node, 0)
    rows = [
        AllocationRecord(job="j", node=node, workers=count, leaving=leaving.get(node, 0))
        for node, count in workers.items()
    ]
    assert staying(rows) == wanted


@given(places, st.integers(0, 16))
def test_fewer_workers_are_some_of_those_that_there_are(there, count):
    left = fewer(there, count)
    assert sum(left.values()) == min(count, sum(there.values()))
    assert all(0 < left[node] <= there[node] for node in left)


def test_whole_nodes_are_given_back_before_others_are_thinned():
    assert fewer({"a": 3, "b": 1, "c": 2}, 4) == {"a": 3, "c": 1}


@st.composite
def moments(draw: st.DrawFn) -> Snapshot:
    """A snapshot of a server's records that are in order."""
    nodes = [ClusterNode(id=f"n{n}", capacity=Resources(cpu_millis=4000, gpu_millis=2000)) for n in range(3)]
    free = {node.id: 2 for node in nodes}
    jobs, rows = [], []
    for number in range(draw(st.integers(0, 6))):
        known = record(
            id=f"j{number}",
            number=number,
            state=draw(st.sampled_from(sorted(STATES))),
            spec={"workers": {"cpus": 1.0, "gpus": 1}},
            min_workers=1,
            max_workers=draw(st.integers(1, 4)),
            priority=draw(st.sampled_from((0, 9))),
            started_at=5.0,
            last_change_at=5.0,
        )
        held: dict[str, int] = {}
        if known.state is not JobState.QUEUED:
            for node in free:
                count = min(free[node], draw(st.integers(0, 2)), known.max_workers - sum(held.values()))
                if count:
                    held[node] = count
                    free[node] -= count
            if not held:
                continue
        rows += [AllocationRecord(job=known.id, node=node, workers=count) for node, count in held.items()]
        jobs.append(job_of(known, sum(held.values())))
    return snapshot_of(
        now=1000.0,
        jobs=jobs,
        nodes=nodes,
        draining={},
        queues=[QueueRecord(id="default")],
        allocations=rows,
        reservations=(),
        policy_state=NOTHING_REMEMBERED,
    )


@given(moments())
def test_a_plan_fits_the_moment_that_it_was_made_for(moment: Snapshot):
    decided = plan(moment)
    kept, dropped = recheck(decided, moment)
    assert dropped == ()
    jobs = {job.id: job for job in moment.jobs}
    for action in kept.actions:
        if isinstance(action, Start | Resize):
            count = sum(places_of(action.placement).values())
            assert jobs[action.job].min_workers <= count <= jobs[action.job].max_workers
    started = {action.job for action in kept.actions if isinstance(action, Start)}
    waiting = {job.id for job in moment.jobs if job.state is Scheduled.PENDING} - started
    assert waiting == decided.explain.keys()


@given(moments())
def test_a_moment_can_be_kept(moment: Snapshot):
    assert from_json(Snapshot, to_json(moment)) == moment


def test_places_on_one_node_add_up():
    assert places_of((Place(node="a", workers=1), Place(node="a", workers=2))) == {"a": 3}
