"""What Prometheus sees of a job while it runs."""

from __future__ import annotations

from itertools import pairwise

import pytest
from prometheus_client.parser import text_string_to_metric_families

from workers.protocol import Activity

pytestmark = [pytest.mark.ray, pytest.mark.slow]


@pytest.fixture(scope="module")
def samples(undisturbed) -> list:
    families = text_string_to_metric_families(undisturbed.scraped)
    return [sample for family in families for sample in family.samples]


@pytest.fixture(scope="module")
def value(samples):
    """The value of a series of the job: name and labels beside the job."""

    def of(name: str, **labels: str) -> float:
        (found,) = [s.value for s in samples if s.name == name and s.labels == {"job": "bits", **labels}]
        return found

    return of


def test_the_job_was_scraped_on_its_way(value, undisturbed) -> None:
    step = int(value("lockstep_job_step"))
    assert 0 < step < value("lockstep_job_steps_target")
    _, samples, loss, _ = undisturbed.result.steps[step]
    assert (value("lockstep_samples_total"), value("lockstep_job_loss")) == (samples, loss)
    assert value("lockstep_job_state", state="running") == 1


def test_step_times_are_a_histogram(samples, value) -> None:
    buckets = [s.value for s in samples if s.name == "lockstep_step_seconds_bucket"]
    assert all(a <= b for a, b in pairwise(buckets))
    assert buckets[-1] == value("lockstep_step_seconds_count") == value("lockstep_job_step")
    assert value("lockstep_step_seconds_sum") > 0


def test_each_worker_shows_its_state_and_what_it_uses(value) -> None:
    assert value("lockstep_worker_state", worker="worker-0", state="training") == 1
    assert value("lockstep_worker_virtual_ranks", worker="worker-0") == 8
    assert value("lockstep_worker_cpu_seconds_total", worker="worker-0") > 0
    assert value("lockstep_worker_memory_bytes", worker="worker-0") > 1e6


def test_the_goodput_ledger_has_every_category(samples) -> None:
    seconds = {s.labels["category"]: s.value for s in samples if s.name == "lockstep_goodput_seconds"}
    assert seconds.keys() == {activity.value for activity in Activity}
    assert seconds["productive"] > 0


def test_checkpoints_are_counted(value, undisturbed) -> None:
    last = value("lockstep_checkpoint_last_step")
    assert last in {entry["step"] for entry in undisturbed.result.events("checkpoint")}
    assert value("lockstep_checkpoints_committed_total") >= 1
    assert value("lockstep_checkpoint_written_bytes_total") > 0
