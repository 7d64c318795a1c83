"""Programs that know nothing of Lockstep: the examples, with ranks that are killed on the way."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.lockstep import Lockstep, pids_of
from tests.support.script_jobs import written

EXAMPLES = Path(__file__).parents[2] / "examples"
#: An interpreter that can import lightning, where that is not this one.
LIGHTNING = os.environ.get("LOCKSTEP_LIGHTNING_PYTHON", sys.executable)


def _copy(name: str, tmp_path: Path) -> Path:
    return Path(shutil.copytree(EXAMPLES / name, tmp_path / name)) / "job.yaml"


@pytest.mark.slow
def test_a_ddp_program_goes_on_from_its_snapshot_when_a_rank_is_killed(tmp_path) -> None:
    job = _copy("ddp_script", tmp_path)
    command = '[python, train.py, --epochs, "6", --pause, "0.3"]'
    with Lockstep(folder=tmp_path).running(job, "--set", f"command={command}") as running:
        log = running.wait_for(lambda log: bool(written(log, "epoch 2 of 6")), "two epochs")
        os.kill(pids_of(log)["rank-1"], signal.SIGKILL)
        result = running.result()
    assert result.code == 0, result.err
    assert written(result.log, "resuming from snapshot.pt after", attempt=1)
    assert written(result.log, "done: 6 epochs on 2 processes")
    epochs = [int(entry["text"].split()[1]) for entry in written(result.log, "epoch ")]
    assert epochs[0] == 1
    assert epochs[-1] == 6
    losses = [float(entry["text"].split()[-1]) for entry in written(result.log, "epoch ")]
    assert losses[-1] < 0.02 < losses[0], "it has learnt the line, to the noise around it"


@pytest.mark.slow
def test_the_ddp_program_runs_under_torchrun_as_it_is(tmp_path) -> None:
    """What it prints is the same: so it is the program's own doing, and none of ours."""
    job = _copy("ddp_script", tmp_path)
    ours = Lockstep(folder=tmp_path).run(job, "--set", 'command=[python, train.py, --epochs, "2"]')
    assert ours.code == 0, ours.err
    (job.parent / "snapshot.pt").unlink()
    arguments = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "train.py"]
    theirs = subprocess.run(
        [sys.executable, *arguments, "--epochs", "2"],
        cwd=job.parent,
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert theirs.returncode == 0, theirs.stderr
    said = [entry["text"] for entry in written(ours.log, "epoch ")]
    assert said == [line for line in theirs.stdout.splitlines() if line.startswith("epoch ")]


@pytest.mark.slow
def test_a_lightning_program_goes_on_from_its_checkpoint(tmp_path) -> None:
    there = subprocess.run([LIGHTNING, "-c", "import lightning"], capture_output=True, timeout=120)
    if there.returncode:
        pytest.skip(
            "needs lightning: pip install lightning into an environment, "
            "and name its interpreter in LOCKSTEP_LIGHTNING_PYTHON"
        )
    job = _copy("lightning_script", tmp_path)
    lockstep = Lockstep(folder=tmp_path)
    command = f"command=[{LIGHTNING}, train.py]"
    with lockstep.running(job, "--set", command, "--set", 'env.EPOCHS="40"') as running:
        log = running.wait_for(lambda log: bool(written(log, "epoch 3:")), "three epochs")
        os.kill(pids_of(log)["rank-1"], signal.SIGKILL)
        result = running.result()
    assert result.code == 0, result.err
    assert written(result.log, "done: 40 epochs on 2 processes", attempt=1)
    again = [int(entry["text"].split()[1].rstrip(":")) for entry in written(result.log, "epoch ", attempt=1)]
    assert again[0] > 1, "it went on, and did not begin anew"
    assert again[-1] == 40
