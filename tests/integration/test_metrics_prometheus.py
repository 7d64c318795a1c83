"""A real Prometheus reads what a running job shows."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest

from orchestrator.metrics import MetricsServer
from orchestrator.records.scoreboard import Scoreboard
from orchestrator.records.status import JobView
from tests.support.events import FakeWorker, train_job
from tests.support.replay import STEPS, play, story
from workers.protocol import Activity, Usage

pytestmark = pytest.mark.skipif(
    shutil.which("promtool") is None or shutil.which("prometheus") is None,
    reason="needs a real Prometheus (Debian package prometheus)",
)

_PATIENCE = 30.0  # seconds until Prometheus must have scraped


@dataclass
class Running:
    """A job with one GPU worker that has done three steps, and a server of its metrics."""

    board: Scoreboard = field(default_factory=lambda: Scoreboard(train_job(), 0.0))
    worker: FakeWorker = field(default_factory=FakeWorker)
    scraped: threading.Event = field(default_factory=threading.Event)
    url: str = ""

    def step(self, number: int) -> None:
        usage = Usage(cpu_seconds=7.5, memory_bytes=1000, gpu_utilisation=0.25, gpu_memory_bytes=2000)
        event = self.worker.spend(Activity.PRODUCTIVE, 1.0).step_done(number, usage=usage)
        self.board.observe(event, float(number))

    def views(self) -> list[JobView]:
        self.scraped.set()
        return [self.board.view(0.0)]


@pytest.fixture
def running() -> Iterator[Running]:
    job = Running()
    job.board.queued(["w0"], 0.0)
    job.board.placed(["w0"], 0.0)
    job.board.observe(job.worker.ready(), 0.0)
    job.board.observe(job.worker.formed(), 0.0)
    for number in (1, 2, 3):
        job.step(number)
    job.board.checkpointed("file:///runs/toy", 3, 3.0)
    server = MetricsServer(job.views, "127.0.0.1:0")
    job.url = server.start()
    yield job
    server.stop()


@pytest.fixture
def prometheus(tmp_path: Path, running: Running) -> Iterator[str]:
    """The address of a Prometheus that scrapes the job five times a second."""
    target = urllib.parse.urlsplit(running.url).netloc
    config = tmp_path / "prometheus.yml"
    scrape = {"job_name": "lockstep", "honor_labels": True, "static_configs": [{"targets": [target]}]}
    config.write_text(json.dumps({"global": {"scrape_interval": "200ms"}, "scrape_configs": [scrape]}))
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    command = [
        "prometheus",
        f"--config.file={config}",
        f"--storage.tsdb.path={tmp_path / 'tsdb'}",
        f"--web.listen-address={address}",
    ]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        yield address
    finally:
        process.terminate()
        process.wait(timeout=30)


def query(address: str, running: Running, expression: str) -> float:
    """The value of an expression that gives one series; asks again after each scrape until there is one."""
    url = f"http://{address}/api/v1/query?{urllib.parse.urlencode({'query': expression})}"
    until = time.monotonic() + _PATIENCE
    while time.monotonic() < until:
        running.scraped.clear()
        assert running.scraped.wait(_PATIENCE), "Prometheus does not scrape"
        with urllib.request.urlopen(url, timeout=10) as answer:
            result = json.load(answer)["data"]["result"]
        if result:
            ((_, value),) = (series["value"] for series in result)
            return float(value)
    raise AssertionError(f"Prometheus knows nothing of {expression}")


def test_promtool_finds_nothing_to_complain_about(running: Running) -> None:
    text = urllib.request.urlopen(running.url, timeout=10).read()
    done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_prometheus_scrapes_a_running_job(prometheus: str, running: Running) -> None:
    value = partial(query, prometheus, running)
    assert value('lockstep_job_step{job="toy"}') == 3
    assert value('lockstep_job_state{job="toy", state="running"}') == 1
    assert value('lockstep_worker_cpu_seconds_total{job="toy", worker="w0"}') == 7.5
    assert value('lockstep_worker_gpu_utilisation_ratio{worker="w0"}') == 0.25
    assert value('lockstep_goodput_seconds{category="productive"}') == 3.0
    assert value("sum(lockstep_goodput_seconds)") == 3.0
    assert value("histogram_quantile(0.5, lockstep_step_seconds_bucket)") == pytest.approx(0.0375)
    running.step(4)
    assert value('lockstep_job_step{job="toy"} == 4') == 4


def test_the_metrics_of_a_whole_job_pass_promtool() -> None:
    board = Scoreboard(train_job(steps=STEPS), 0.0)
    play(board, lambda entry: None, story(1.0), lambda now: now)
    server = MetricsServer(lambda: [board.view(0.0)], "127.0.0.1:0")
    url = server.start()
    try:
        text = urllib.request.urlopen(url, timeout=10).read()
    finally:
        server.stop()
    done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
