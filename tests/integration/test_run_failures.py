"""What goes wrong while a job runs: the exit code, whose traceback, and the checkpoint to go on from."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.bits_jobs import BitsJob
from tests.support.lockstep import Lockstep, Result, processes, steps_of, until

pytestmark = pytest.mark.ray

FAILING = '''

class Failing(Bits):
    """Raises in step 14. BatchNorm counts the steps in which virtual rank 0 has samples: not 6 and 12."""

    def build_model(self):
        self.model = super().build_model()
        return self.model

    def loss(self, model, batch):
        if int(self.model[1].num_batches_tracked) == 11:
            raise ValueError("no such luck")
        return super().loss(model, batch)
'''


def test_a_recipe_that_does_not_import_shows_its_own_traceback(lockstep: Lockstep, job: BitsJob) -> None:
    job.recipe.write_text("import nothing_of_this_name\n")
    result = lockstep.run(job.file, "--workers", 1)
    assert result.code == 2
    assert frames_of(result) == [f'  File "{job.recipe}", line 1, in <module>']
    assert "No module named 'nothing_of_this_name'" in result.err
    assert not job.checkpoints.exists()


def test_a_recipe_that_is_not_python_shows_the_place(lockstep: Lockstep, job: BitsJob) -> None:
    job.recipe.write_text("class Bits:\n    def = 3\n")
    result = lockstep.run(job.file, "--workers", 1)
    assert result.code == 2
    assert f'File "{job.recipe}", line 2\n    def = 3\n        ^\nSyntaxError: invalid syntax' in result.err
    assert "Traceback" not in result.err


def test_a_recipe_that_raises_shows_its_own_traceback_and_the_last_checkpoint(
    lockstep: Lockstep, job: BitsJob
) -> None:
    job.recipe.write_text(job.recipe.read_text() + FAILING)
    result = lockstep.run(job.file, "--workers", 2, "--set", "recipe=recipe:Failing")
    assert result.code == 1
    assert len(frames_of(result)) == 1
    assert f'File "{job.recipe}"' in frames_of(result)[0]
    assert "failed in step 14 (user): the recipe raised ValueError: no such luck" in result.err
    assert "the last good checkpoint is of step 10: continue from it with --resume" in result.err
    assert result.json["checkpoint"] == {"uri": job.checkpoints.as_uri(), "step": 10}
    assert (result.json["state"], result.json["failure"]["step"]) == ("failed", 14)


def test_a_run_that_resumes_and_fails_before_it_saves_names_where_it_came_from(
    lockstep: Lockstep, job: BitsJob
) -> None:
    job.recipe.write_text(job.recipe.read_text() + FAILING)
    options = ("--workers", 1, "--set", "recipe=recipe:Failing")
    assert lockstep.run(job.file, *options).code == 1
    again = lockstep.run(job.file, *options, "--resume")
    assert again.code == 1
    assert [*again.steps] == [11, 12, 13]
    assert "the last good checkpoint is of step 10: continue from it with --resume" in again.err


@pytest.mark.slow
def test_ctrl_c_stops_the_job_in_order(alone: Lockstep, long_job: BitsJob) -> None:
    with alone.running(long_job.file, "--workers", 2) as running:
        running.wait_for(lambda log: len(steps_of(log)) >= 50, "step 50")
        os.killpg(running.process.pid, signal.SIGINT)  # as a terminal does it: to everybody
        result = running.result()
        until(lambda: None if processes(running.mark) else True, "all processes to end", running)
    assert result.code == 130
    assert result.json["state"] == "cancelled"
    assert "the last good checkpoint is of step 35: continue from it with --resume" in result.err
    assert "Traceback" not in result.err


def test_ctrl_c_before_training_ends_at_once(alone: Lockstep, job: BitsJob) -> None:
    with alone.running(job.file, "--workers", 1) as running:
        until(lambda: running.log.exists() or None, "the log", running)
        os.killpg(running.process.pid, signal.SIGINT)
        result = running.result()
        until(lambda: None if processes(running.mark) else True, "all processes to end", running)
    assert result.code == 130
    assert "interrupted" in result.err
    assert "Traceback" not in result.err


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system with room for two checkpoints of the bits job."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=120k", "tmpfs", str(folder)]
    done = subprocess.run(mount, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"cannot mount a small file system here: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_loses_nothing_but_the_save(
    lockstep: Lockstep, job: BitsJob, small_disk: Path, trained
) -> None:
    options = ("--workers", 2, "--set", f"checkpoint.uri={small_disk}", "--set", "checkpoint.patience=1s")
    result = lockstep.run(job.file, *options)
    assert result.code == 2
    assert "No space left on device\n  → free some space" in result.err
    good = result.json["checkpoint"]["step"]
    assert f"the last good checkpoint is of step {good}: continue from it with --resume" in result.err
    assert "Traceback" not in result.err
    subprocess.run(["mount", "-o", "remount,size=10m", str(small_disk)], check=True)
    again = lockstep.run(job.file, *options, "--resume")
    assert again.code == 0, again.err
    assert min(again.steps) == good + 1
    assert again.json["state_digest"] == trained.result.json["state_digest"]


def frames_of(result: Result) -> list[str]:
    """The lines of the one traceback that name a place; it comes before our own words about the failure."""
    before, traceback = result.err.split("Traceback (most recent call last):\n")
    assert "(input)" not in before
    assert "(user)" not in before
    return [line for line in traceback.splitlines() if line.startswith("  File ")]
