"""The engine on real GPUs, without Ray: the same bits for any number of workers, also after a death.

make gpu-check
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from tests.fire.run import run
from tests.fire.script import Happening, Kind, Script
from tests.support.bits_jobs import bits_job
from tests.support.supervised import load
from workers.processes import launch
from workers.protocol import Finished, StepDone, TrainJob

GPUS = torch.cuda.device_count()

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.slow,
    pytest.mark.skipif(not GPUS, reason="this machine has no GPU that torch can use"),
]


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> TrainJob:
    """The bits job on GPUs that its workers share."""
    folder = tmp_path_factory.mktemp("gpu") / "job"
    bits_job(folder).change(stop={"steps": 60}, params={"pause": 0.002})
    job = load(folder, (folder / "runs").as_uri())
    return replace(job, device="cuda", gpu_shared=True, checkpoint_uri=None)


def trained(job: TrainJob, workers: int) -> tuple[str | None, dict[int, float]]:
    """The state digest and every loss."""
    digest, losses = None, {}
    for event in launch(job, workers):
        if isinstance(event, StepDone):
            losses[event.step] = event.loss
        elif isinstance(event, Finished):
            digest = event.state_digest or digest
    return digest, losses


@pytest.fixture(scope="module")
def alone(job: TrainJob) -> tuple[str | None, dict[int, float]]:
    return trained(job, 1)


def test_one_worker_repeats_itself(job: TrainJob, alone) -> None:
    assert trained(job, 1) == alone


@pytest.mark.parametrize("workers", [2, 3])
def test_workers_that_share_a_gpu_come_to_the_bits_of_one(job: TrainJob, alone, workers: int) -> None:
    assert trained(job, workers) == alone


def test_survivors_on_a_shared_gpu_go_on_with_the_same_bits(job: TrainJob, alone) -> None:
    script = Script(
        seed=0, workers=3, happenings=(Happening(step=20, delay=0.0, kind=Kind.KILL_FIRST, number=0),)
    )
    seen = run(job, script)
    assert (seen.digest, {step: loss for step, (loss, _) in seen.steps.items()}) == alone
    assert seen.generations >= 2
