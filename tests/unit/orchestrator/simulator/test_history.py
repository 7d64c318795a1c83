"""A server's jobs as a trace: what they were given is what they need."""

from __future__ import annotations

import pytest

from orchestrator.simulator.generate import write_trace
from orchestrator.simulator.history import trace_of
from orchestrator.simulator.trace import read_trace


def job(**changes):
    return {
        "id": "k3j5h2k4jh",
        "state": "done",
        "submitted_at": 1000.0,
        "queue": "research",
        "user": "ann",
        "priority": 2,
        "min_workers": 2,
        "max_workers": 8,
        "cpus": 4.0,
        "gpus": 1.0,
        "service": 600.0,
        **changes,
    }


def test_what_it_was_given_is_what_it_takes_on_the_fewest_workers():
    (found,) = trace_of([job()])
    assert (found.gpus, found.seconds, found.min_workers, found.max_workers) == (2, 300.0, 2, 8)
    assert (found.queue, found.user, found.priority, found.submitted_at) == ("research", "ann", 2, 0.0)


@pytest.mark.parametrize(
    ("gpus", "service", "expected"),
    [
        (4.0, 2400.0, (8, 300.0)),  # a worker with several GPUs counts as so many
        (0.5, 300.0, (2, 300.0)),  # one with a part of one, or none at all, counts as one
        (0.0, 2400.0, (2, 300.0)),  # in CPU-seconds
    ],
)
def test_workers_of_other_kinds(gpus, service, expected):
    (found,) = trace_of([job(gpus=gpus, service=service)])
    assert (found.gpus, found.seconds) == expected


def test_only_what_ran_and_is_over_counts_and_time_begins_with_the_first():
    jobs = [
        job(id="third", submitted_at=1500.0, state="failed"),
        job(id="runs", submitted_at=1.0, state="running"),
        job(id="never", submitted_at=2.0, state="cancelled", service=0.0),
        job(id="first", submitted_at=1400.0),
    ]
    assert [(each.id, each.submitted_at) for each in trace_of(jobs)] == [("first", 0.0), ("third", 100.0)]
    assert trace_of([]) == []


def test_it_is_read_as_it_was_written(tmp_path):
    jobs = trace_of([job(), job(id="other", submitted_at=1000.123, gpus=0.0, service=77.0)])
    write_trace(tmp_path / "trace.csv", jobs)
    assert read_trace(tmp_path / "trace.csv") == jobs
