"""--resume: from what is intact, and only if the job would go on as the one that wrote it."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.bits_jobs import BitsJob
from tests.support.checkpoints import chunk_path, flip, folder_store
from tests.support.lockstep import Lockstep, Result
from workers.checkpoint.load import history, read_manifest
from workers.checkpoint.objects import manifest_name

pytestmark = pytest.mark.ray


@pytest.fixture
def saved(job: BitsJob, trained) -> BitsJob:
    """A copy of the job with checkpoints of steps 10, 15 and 18."""
    shutil.copytree(trained.job.checkpoints, job.checkpoints)
    return job


@pytest.fixture
def resume(lockstep: Lockstep):
    def run(job: BitsJob, *options: object) -> Result:
        return lockstep.run(job.file, "--workers", 1, "--resume", *options)

    return run


def refusal(result: Result, job: BitsJob) -> str:
    """What a refused run says. It changed nothing."""
    assert result.code == 2, result.err
    assert "Traceback" not in result.err
    assert history(folder_store(job.checkpoints)) == [10, 15, 18]
    return result.err


def damage(job: BitsJob, step: int) -> Path:
    """Change one bit of a checkpoint's first chunk."""
    manifest = read_manifest(folder_store(job.checkpoints), step)
    path = chunk_path(job.checkpoints, manifest, 0)
    flip(path, 100)
    return path


def test_a_job_that_is_done_has_nothing_to_do(saved: BitsJob, resume, trained) -> None:
    result = resume(saved)
    assert (result.code, result.steps) == (0, {})
    assert result.json["state_digest"] == trained.result.json["state_digest"]


def test_checkpoints_are_not_trampled_on_without_a_word(saved: BitsJob, lockstep: Lockstep) -> None:
    said = refusal(lockstep.run(saved.file, "--workers", 1), saved)
    assert "an earlier run is here, at step 18" in said
    assert "--resume" in said
    assert "--fresh" in said


def test_an_altered_chunk_makes_the_checkpoint_before_it_the_newest(saved: BitsJob, resume, trained) -> None:
    path = damage(saved, 18)
    result = resume(saved)
    assert result.code == 0, result.err
    assert path.name in result.err
    assert any(path.name in note["reason"] for note in result.events("note"))
    assert [*result.steps] == [16, 17, 18]
    assert result.json["state_digest"] == trained.result.json["state_digest"]
    assert saved.committed() == trained.job.committed()  # what was damaged is mended


def test_when_no_checkpoint_is_intact_the_run_is_refused(saved: BitsJob, resume) -> None:
    paths = [damage(saved, step) for step in (10, 15, 18)]
    said = refusal(resume(saved), saved)
    assert "no checkpoint can be restored" in said
    assert all(path.name in said for path in paths)


def test_a_checkpoint_of_another_recipe_is_refused(saved: BitsJob, resume) -> None:
    said = refusal(resume(saved, "--set", "params.width=16", "--set", "stop.steps=20"), saved)
    assert "written under other conditions" in said
    assert "params.width: (none) → 16" in said


def test_a_checkpoint_of_changed_sources_is_refused(saved: BitsJob, resume) -> None:
    saved.recipe.write_text(saved.recipe.read_text().replace("0.05 * noise", "0.06 * noise"))
    assert "recipe.py changed" in refusal(resume(saved, "--set", "stop.steps=20"), saved)


@pytest.fixture
def from_elsewhere(saved: BitsJob) -> BitsJob:
    """The newest checkpoint says that another processor wrote it, in a manifest that is in order."""
    store = folder_store(saved.checkpoints)
    manifest = read_manifest(store, 18)
    elsewhere = replace(manifest, fingerprint={**manifest.fingerprint, "cpu_capability": "ABACUS"})
    store.put(manifest_name(18), elsewhere.to_bytes())
    return saved


def test_a_checkpoint_of_another_environment_is_refused(from_elsewhere: BitsJob, resume) -> None:
    said = refusal(resume(from_elsewhere, "--set", "stop.steps=20"), from_elsewhere)
    assert 'environment cpu_capability: "ABACUS" →' in said
    assert "numerics: relaxed" in said


def test_relaxed_numerics_go_on_in_another_environment(from_elsewhere: BitsJob, resume) -> None:
    result = resume(from_elsewhere, "--set", "stop.steps=20", "--set", "numerics=relaxed")
    assert result.code == 0, result.err
    assert [*result.steps] == [19, 20]
    assert result.json["numerics"] == "relaxed"
