"""A journey begins at the nearest checkpoint before its step, or says why it cannot begin."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.support.checkpoints import JOB, chunk_path, flip, folder_store, save
from workers.checkpoint.tensors import TensorSpec
from workers.errors import CheckpointError, InputError
from workers.protocol import Numerics, TrainJob
from workers.replay.conditions import changes
from workers.replay.origin import find_origin

SPECS = {"model/a": TensorSpec(dtype="F32", shape=(40,))}


@pytest.fixture
def job(tmp_path) -> TrainJob:
    """One that has saved steps 10, 20 and 30."""
    store, manifest = folder_store(tmp_path), None
    for step in (10, 20, 30):
        manifest = save(store, SPECS, step, manifest)
    return replace(JOB, checkpoint_uri=tmp_path.as_uri())


@pytest.mark.parametrize(("step", "begin", "found"), [(11, None, 10), (20, None, 10), (1000, None, 30)])
def test_at_the_nearest_one_before_the_step(job: TrainJob, step: int, begin: None, found: int) -> None:
    origin = find_origin(job, step, begin, allow_changes=False)
    assert origin.manifest is not None
    assert origin.tensors is not None
    assert (origin.manifest.step, origin.tensors.keys()) == (found, SPECS.keys())


def test_at_the_one_that_is_named(job: TrainJob) -> None:
    origin = find_origin(job, 31, 20, allow_changes=False)
    assert origin.manifest is not None
    assert origin.manifest.step == 20
    nothing = find_origin(job, 31, 0, allow_changes=False)
    assert nothing.manifest is None
    assert nothing.witness is not None


def test_a_damaged_one_is_passed_over_and_said(job: TrainJob, tmp_path) -> None:
    manifest = find_origin(job, 31, None, allow_changes=False).manifest
    assert manifest is not None
    flip(chunk_path(tmp_path, manifest, 1), 100)
    origin = find_origin(job, 31, None, allow_changes=False)
    assert origin.manifest is not None
    assert origin.manifest.step == 20
    assert "the chunk is altered" in origin.notes[0]


@pytest.mark.parametrize(
    ("step", "begin", "kind", "words"),
    [
        (10, None, CheckpointError, r"no checkpoint before step 10\n.*a step after 10; or --from 0"),
        (1001, None, InputError, r"ends at step 1000\n.*from 1 to 1000"),
        (20, 20, InputError, "step 20 is not after step 20"),
        (31, 25, CheckpointError, "no checkpoint of step 25\n.*choose one of: 10, 20, 30"),
    ],
)
def test_what_cannot_be_is_refused(job: TrainJob, step: int, begin: int | None, kind, words: str) -> None:
    with pytest.raises(kind, match=words):
        find_origin(job, step, begin, allow_changes=False)


def test_a_job_without_checkpoints_can_begin_from_nothing_only() -> None:
    with pytest.raises(CheckpointError, match=r"saves no checkpoints\n.*--from 0"):
        find_origin(JOB, 5, None, allow_changes=False)
    assert find_origin(JOB, 5, 0, allow_changes=False).witness is None


@pytest.mark.parametrize("begin", [None, 0])
def test_changed_sources_are_refused_unless_allowed(job: TrainJob, begin: int | None) -> None:
    changed = replace(job, sources={"recipe.py": b"class Toy: pass"})
    with pytest.raises(CheckpointError, match=r"recipe\.py changed\n.*--allow-changes"):
        find_origin(changed, 31, begin, allow_changes=False)
    assert find_origin(changed, 31, begin, allow_changes=True).witness is not None


@pytest.mark.parametrize("numerics", list(Numerics))
def test_another_environment_is_refused_whatever_the_job_says(job: TrainJob, numerics: Numerics) -> None:
    """`relaxed` lets a job go on elsewhere; it makes nothing equal."""
    manifest = find_origin(job, 31, None, allow_changes=False).manifest
    assert manifest is not None
    relaxed = replace(job, numerics=numerics)
    elsewhere = {**manifest.fingerprint, "threads": 2}
    with pytest.raises(CheckpointError, match="environment threads: 1 → 2"):
        changes(manifest, relaxed, elsewhere, allowed=False)
    assert changes(manifest, relaxed, elsewhere, allowed=True) == ("environment threads: 1 → 2",)
    with pytest.raises(CheckpointError, match="seed: 7 → 8"):
        changes(manifest, replace(relaxed, seed=8), manifest.fingerprint, allowed=True)
