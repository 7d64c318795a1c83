"""Jobs that ask for GPUs, on a cluster that only thinks it has some."""

from __future__ import annotations

import shutil

import pytest

from tests.support.bits_jobs import BitsJob
from tests.support.lockstep import Lockstep, Result

pytestmark = [
    pytest.mark.ray,
    pytest.mark.skipif(shutil.which("nvidia-smi") is not None, reason="this machine has real GPUs"),
]


def run(lockstep: Lockstep, job: BitsJob, workers: int, gpus: float) -> Result:
    return lockstep.run(job.file, "--workers", workers, "--set", f"workers.gpus={gpus}")


@pytest.mark.parametrize(("workers", "gpus"), [(2, 2), (4, 0.5)])
def test_workers_are_placed_on_gpus_and_say_that_there_is_no_cuda(
    lockstep: Lockstep, job: BitsJob, workers: int, gpus: float
) -> None:
    result = run(lockstep, job, workers, gpus)
    assert [entry["reason"] for entry in result.events("placed")] == [f"{workers} workers"]
    assert result.code == 2
    assert "workers.gpus: there is no CUDA device that torch" in result.err
    assert "use workers.gpus: 0" in result.err
    assert "Traceback" not in result.err
