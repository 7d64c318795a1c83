"""A script job on a server: queued, placed, its output kept, stopped in its grace time, and gone on with."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from orchestrator.client import Job
from tests.support.ray_cluster import RayCluster
from tests.support.script_jobs import script_folder
from tests.support.serving import Serving

pytestmark = [pytest.mark.ray, pytest.mark.slow]


@pytest.fixture
def server(cluster: RayCluster, tmp_path) -> Iterator[Serving]:
    environment = {**os.environ, **cluster.environment, "LOCKSTEP_NAMESPACE": tmp_path.name}
    serving = Serving(state=tmp_path / "state", cluster=cluster.address, environment=environment)
    serving.start()
    yield serving
    if serving.process is not None:
        serving.stop()


def _read(job: Job, text: str, count: int) -> str:
    """What the job has written, as soon as a text is in it so often."""
    log = ""
    for piece in job.logs(follow=True):
        log += piece
        if log.count(text) >= count:
            return log
    raise AssertionError(f"{text!r} is not there {count} times:\n{log}")


def test_a_script_job_is_submitted_runs_pauses_and_goes_on(server: Serving, tmp_path) -> None:
    folder = script_folder(tmp_path / "x", workers={"min": 2, "max": 2, "cpus": 1})
    folder.does(
        "first = not Path(f'kept-{rank}').exists()\n"
        "Path(f'kept-{rank}').touch()\n"
        "print('first' if first else 'again')\n"
        "if first: time.sleep(600)\n"
    )
    with server.client() as client:
        job = client.submit(folder.file)
        log = _read(job, "first", 2)
        assert "[rank-0] told" in log
        assert ".env" not in log
        job.pause()
        for event in job.events(follow=True):
            if event.get("after") == "paused":
                break
        assert sorted(path.name for path in folder.shared.iterdir()) == ["saved-0-0", "saved-0-1"]
        assert job.status()["numerics"] == "none"
        job.resume()
        status = job.wait(timeout=150)
        assert (status["state"], status["attempt"]) == ("done", 2), status
        log = "".join(job.logs())
    assert log.count("again") == 2, "its folder stayed on the node"
