"""`lockstep serve` as most begin with it: on this machine, with a Ray of its own."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator

import psutil
import pytest

from clusters import own
from tests.support.script_jobs import script_folder
from tests.support.serving import Serving

pytestmark = [pytest.mark.ray, pytest.mark.slow]

WAITS = "while not (shared / 'go').exists(): time.sleep(0.1)\n"


@pytest.fixture
def server(tmp_path) -> Iterator[Serving]:
    serving = Serving(state=tmp_path / "state", cluster="local", environment=os.environ)
    try:
        yield serving
    finally:
        if serving.process is not None and serving.process.poll() is None:
            serving.kill()
        own.stop(serving.state / "ray.json")


def test_jobs_outlive_the_server_and_its_ray_goes_when_nobody_needs_it(server: Serving, tmp_path) -> None:
    folder = script_folder(tmp_path / "x", workers={"min": 1, "max": 1, "cpus": 1})
    folder.does(WAITS)
    ray = server.state / "ray.json"
    server.start()
    cluster = psutil.Process(json.loads(ray.read_text())["pid"])
    assert ray.stat().st_mode & 0o077 == 0, "its token is for this user alone"
    with server.client() as client:
        job = client.submit(folder.file)
        for event in job.events(follow=True):
            if event.get("after") == "running":
                break
        assert server.interrupt() in (0, 130)
        assert "jobs that go on: 1" in server.log()
        assert cluster.is_running()
        (folder.shared / "go").touch()
        server.start()
        status = job.wait(timeout=120)
        assert (status["state"], status["attempt"]) == ("done", 1), status
        server.kill()
        assert cluster.is_running(), "a killed server could not ask whether somebody needs it"
        server.start()
        assert server.stop() == 0
    assert not cluster.is_running() or cluster.status() == psutil.STATUS_ZOMBIE
    assert not ray.exists()
    assert "Traceback" not in server.log()
