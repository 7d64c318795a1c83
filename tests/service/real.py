"""The scenario on a cluster of its own."""

from __future__ import annotations

from pathlib import Path

from tests.service.checks import check
from tests.service.scenario import CPUS, GPUS, HURRY, NODES, PAUSE, STEPS, Result, Scenario
from tests.support.bits_jobs import BitsJob, bits_job
from tests.support.nodes import ray_nodes
from tests.support.serving import Serving


def play(folder: Path, *, jobs: int, kills: int, steps: int = STEPS) -> tuple[str, Result]:
    """Run and check it; the digest of an undisturbed run of the same job, and what came of it."""
    template = bits_job(folder / "template")
    template.change(
        stop={"steps": steps},
        checkpoint={"uri": "runs", "every": 40, "if_busy": "wait"},
        evaluate={"every": 100},
        params={"pause": PAUSE, "hurry": str(folder / "jobs" / HURRY)},
    )
    with ray_nodes(nodes=NODES, cpus=CPUS, gpus=GPUS) as nodes:
        serving = Serving(state=folder / "server", cluster=nodes.address, environment=nodes.environment)
        scenario = Scenario(
            serving=serving, template=template, folder=folder / "jobs", jobs=jobs, kills=kills
        )
        scenario.folder.mkdir()
        try:
            result = scenario.run()
            digest = _undisturbed(serving, template, folder)
        finally:
            if serving.process is not None and serving.process.poll() is None:
                serving.stop()
    check(result, digest)
    return digest, result


def _undisturbed(serving: Serving, template: BitsJob, folder: Path) -> str:
    """What the job comes to when nothing happens to it: one worker, alone on the cluster."""
    job = template.copy(folder / "calm")
    job.change(workers={"min": 1, "max": 1, "standby": False}, params={})
    with serving.client() as client:
        status = client.submit(job.file).wait(300)
    assert status["state"] == "done", status
    assert status["generations"] == 1, status
    return str(status["state_digest"])
