"""Wrong input is refused before anything starts: exit code 2, words that help, no traceback."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.bits_jobs import BitsJob
from tests.support.lockstep import Lockstep

pytestmark = pytest.mark.ray


@pytest.fixture
def refused(lockstep: Lockstep):
    """Runs a job that must be refused; what is said about it."""

    def run(job: BitsJob, *options: object, runner: Lockstep = lockstep) -> str:
        result = runner.run(job.file, *options)
        assert result.code == 2, result.err
        assert "Traceback" not in result.err + result.out
        assert json.loads(result.out)["error"]["what"]
        assert not job.checkpoints.exists()
        return result.err

    return run


def test_a_misspelt_field_is_named_with_its_line_and_the_nearest_valid_one(job: BitsJob, refused) -> None:
    job.file.write_text(job.file.read_text().replace('"virtual_ranks"', '"virtual_rank"'))
    line = 1 + next(n for n, text in enumerate(job.file.read_text().splitlines()) if "virtual_rank" in text)
    said = refused(job)
    assert f"{job.file}:{line}: batch.virtual_rank: unknown field\n  → did you mean virtual_ranks?" in said


def test_virtual_ranks_must_divide_the_batch(job: BitsJob, refused) -> None:
    said = refused(job, "--set", "batch.size=42")
    assert "8 virtual ranks do not divide a batch of 42" in said
    assert "make batch.size 40 or 48" in said


def test_there_are_no_more_workers_than_virtual_ranks(job: BitsJob, refused) -> None:
    assert "9 workers cannot share 8 virtual ranks" in refused(job, "--workers", 9)
    assert "9 workers cannot share 8 virtual ranks" in refused(job, "--set", "workers.max=9")


def test_a_prefix_without_anything_is_named(job: BitsJob, refused, tmp_path: Path) -> None:
    nowhere = (tmp_path / "nowhere").as_uri()
    said = refused(job, "--set", f"data.train.uri={nowhere}")
    assert f"{nowhere}: there is nothing here" in said
    assert "check the address" in said


def test_objects_that_were_not_indexed_are_told_from_nothing(job: BitsJob, refused, tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "0-1").write_bytes(bytes(64))
    said = refused(job, "--set", f"data.train.uri={(tmp_path / 'raw').as_uri()}")
    assert f"no manifest of them\n  → lockstep data index {(tmp_path / 'raw').as_uri()}" in said


def test_an_empty_data_set_is_neither_indexed_nor_trained_on(
    job: BitsJob, refused, lockstep: Lockstep, tmp_path: Path
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    indexed = lockstep("data", "index", empty)
    assert indexed.code == 2
    assert "there are no objects here" in indexed.err
    assert "there is nothing here" in refused(job, "--set", f"data.eval.uri={empty}")


def test_more_gpus_than_the_cluster_has_are_refused_at_once(job: BitsJob, refused) -> None:
    said = refused(job, "--workers", 2, "--set", "workers.gpus=3")
    assert "need 2 CPU and 6 GPU, and the cluster has 16 CPU and 4 GPU" in said


def test_resume_and_fresh_contradict_each_other(job: BitsJob, refused) -> None:
    assert "--resume and --fresh contradict each other" in refused(job, "--resume", "--fresh")


def test_a_cluster_that_does_not_answer_is_another_matter(job: BitsJob, tmp_path: Path) -> None:
    runner = Lockstep(folder=tmp_path, cluster=("--cluster", "127.0.0.1:1"))
    result = runner.run(job.file)
    assert result.code == 3
    assert "127.0.0.1:1: no Ray cluster answers" in result.err


@pytest.mark.s3
def test_wrong_credentials_are_told_from_a_bucket_without_permission(
    job: BitsJob, refused, s3, bucket
) -> None:
    runner = Lockstep(folder=job.folder)
    set_data = ("--set", f"data.train.uri={bucket}/train")

    owner = s3.environment()
    said = refused(job, *set_data, runner=runner.with_environment({**owner, "AWS_SECRET_ACCESS_KEY": "no"}))
    assert "SignatureDoesNotMatch" in said
    assert "check the credentials" in said

    said = refused(job, *set_data, runner=runner.with_environment({**owner, "AWS_ACCESS_KEY_ID": "nobody"}))
    assert "InvalidAccessKeyId" in said

    said = refused(job, *set_data, runner=runner.with_environment(s3.environment(s3.stranger)))
    assert "no permission" in said
    assert bucket in said


@pytest.mark.s3
def test_a_checkpoint_folder_without_permission_is_refused_before_training(job: BitsJob, s3, bucket) -> None:
    runner = Lockstep(folder=job.folder).with_environment(s3.environment(s3.stranger))
    result = runner.run(job.file, "--set", f"checkpoint.uri={bucket}/runs")
    assert result.code == 2
    assert "no permission" in result.err
    assert "Traceback" not in result.err
