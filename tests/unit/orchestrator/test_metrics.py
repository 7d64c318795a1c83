from __future__ import annotations

import socket
import urllib.request

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from orchestrator.metrics import JobsCollector, MetricsServer
from orchestrator.records.facts import JobState
from orchestrator.records.scoreboard import Scoreboard
from orchestrator.records.status import JobView
from tests.support.events import BATCH, FakeWorker, train_job
from tests.support.replay import STEPS, play, story
from workers.errors import InputError
from workers.protocol import Usage


def replayed(name: str = "toy") -> JobView:
    board = Scoreboard(train_job(name=name, steps=STEPS), 0.0)
    play(board, lambda entry: None, story(1.0), lambda now: now)
    return board.view(0.0)


def registry(*views: JobView) -> CollectorRegistry:
    found = CollectorRegistry()
    found.register(JobsCollector(lambda: views))
    return found


def test_the_numbers_of_a_job_are_those_of_its_status() -> None:
    view = replayed()
    value = registry(view).get_sample_value
    job = {"job": "toy"}
    assert value("lockstep_job_step", job) == STEPS
    assert value("lockstep_job_steps_target", job) == STEPS
    assert value("lockstep_samples_total", job) == STEPS * BATCH
    assert value("lockstep_job_loss", job) == view.status.loss
    assert value("lockstep_checkpoints_committed_total", job) == 6
    assert value("lockstep_checkpoint_last_step", job) == STEPS
    assert value("lockstep_checkpoint_written_bytes_total", job) == 2 * 6 * 3_400_000
    assert value("lockstep_generations_total", job) == 1
    assert value("lockstep_job_info", {**job, "numerics": "elastic"}) == 1


def test_exactly_one_state_of_a_job_and_of_each_worker_is_1() -> None:
    metrics = {family.name: family.samples for family in registry(replayed()).collect()}
    jobs = [sample.labels["state"] for sample in metrics["lockstep_job_state"] if sample.value]
    workers = [sample.labels["state"] for sample in metrics["lockstep_worker_state"] if sample.value]
    assert jobs == [JobState.DONE]
    assert workers == ["finished", "finished"]


def test_the_step_time_histogram_is_cumulative_and_complete() -> None:
    value = registry(replayed()).get_sample_value
    assert value("lockstep_step_seconds_bucket", {"job": "toy", "le": "0.025"}) == 0
    assert value("lockstep_step_seconds_bucket", {"job": "toy", "le": "0.05"}) == STEPS
    assert value("lockstep_step_seconds_bucket", {"job": "toy", "le": "+Inf"}) == STEPS
    assert value("lockstep_step_seconds_count", {"job": "toy"}) == STEPS
    assert value("lockstep_step_seconds_sum", {"job": "toy"}) == pytest.approx(STEPS * 0.05)


def test_the_ledgers_categories_sum_to_what_elapsed() -> None:
    view = replayed()
    (family,) = (f for f in registry(view).collect() if f.name == "lockstep_goodput_seconds")
    assert sum(sample.value for sample in family.samples) == pytest.approx(view.goodput.elapsed)


def test_a_workers_gpu_is_shown_where_there_is_one() -> None:
    board, worker = Scoreboard(train_job(), 0.0), FakeWorker()
    for step, usage in (
        (1, Usage(cpu_seconds=2.0, memory_bytes=10)),
        (2, Usage(cpu_seconds=3.0, memory_bytes=11, gpu_utilisation=0.5, gpu_memory_bytes=12)),
    ):
        board.observe(worker.step_done(step, usage=usage), 0.0)
        value = registry(board.view(0.0)).get_sample_value
        labels = {"job": "toy", "worker": "w0"}
        assert value("lockstep_worker_cpu_seconds_total", labels) == usage.cpu_seconds
        assert value("lockstep_worker_memory_bytes", labels) == usage.memory_bytes
        assert value("lockstep_worker_gpu_utilisation_ratio", labels) == usage.gpu_utilisation
        assert value("lockstep_worker_gpu_memory_bytes", labels) == usage.gpu_memory_bytes


def test_series_of_a_job_disappear_with_it() -> None:
    views = [replayed("a"), replayed("b")]
    found = CollectorRegistry()
    found.register(JobsCollector(lambda: views))
    del views[0]
    jobs = {sample.labels["job"] for family in found.collect() for sample in family.samples}
    assert jobs == {"b"}


def test_a_busy_port_is_replaced_and_the_notice_says_so() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        server = MetricsServer(lambda: [replayed()], f"127.0.0.1:{port}")
        url = server.start()
        try:
            assert f":{port}/" not in url
            assert server.notice is not None
            assert f"port {port} is taken" in server.notice
            text = urllib.request.urlopen(url, timeout=10).read().decode()
        finally:
            server.stop()
    assert "lockstep_job_step" in {family.name for family in text_string_to_metric_families(text)}


def test_a_stopped_server_frees_its_port() -> None:
    server = MetricsServer(list, "127.0.0.1:0")
    port = int(server.start().split(":")[2].split("/")[0])
    server.stop()
    socket.create_server(("127.0.0.1", port)).close()


@pytest.mark.parametrize("address", ["", "9464", "localhost:", "localhost:99999", "localhost:http"])
def test_an_address_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(InputError, match="not an address"):
        MetricsServer(list, address)


def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(InputError, match="cannot listen"):
        MetricsServer(list, "192.0.2.1:9464").start()
