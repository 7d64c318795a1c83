"""What is to be proven: the checkpoints of a stretch, and the links between them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.verify import find_claim
from tests.support.checkpoints import JOB, folder_store, save
from workers.checkpoint.objects import manifest_name
from workers.checkpoint.tensors import TensorSpec
from workers.errors import CheckpointError, InputError
from workers.protocol import Numerics, TrainJob

SPECS = {"model/a": TensorSpec(dtype="F32", shape=(40,))}


@pytest.fixture
def job(tmp_path) -> TrainJob:
    """One that has saved steps 10, 20, 25 and 30."""
    store, manifest = folder_store(tmp_path), None
    for step in (10, 20, 25, 30):
        manifest = save(store, SPECS, step, manifest)
    return replace(JOB, checkpoint_uri=tmp_path.as_uri())


@pytest.mark.parametrize(
    ("begin", "end", "goals"),
    [(0, None, [10, 20, 25, 30]), (10, 25, [20, 25]), (25, 30, [30]), (0, 10, [10])],
)
def test_all_checkpoints_of_the_stretch(job: TrainJob, begin: int, end: int | None, goals: list[int]) -> None:
    claim = find_claim(job, begin, end, 3, allow_changes=False)
    assert (claim.start.step if claim.start else 0) == begin
    assert [goal.step for goal in claim.goals] == goals
    assert claim.broken == ()


def test_a_link_to_another_checkpoint_than_the_stored_one_is_told(job: TrainJob, tmp_path) -> None:
    store = folder_store(tmp_path)
    (tmp_path / manifest_name(20)).unlink()
    save(store, SPECS, 20, parent=None)  # the same state, and another history
    [broken] = find_claim(job, 10, 30, 1, allow_changes=False).broken
    assert broken.startswith("step 25 follows a checkpoint of step 20 with the hash ")
    assert find_claim(job, 20, 25, 1, allow_changes=False).broken == (broken,)
    assert find_claim(job, 25, 30, 1, allow_changes=False).broken == ()


def test_a_fork_is_no_broken_chain(job: TrainJob, tmp_path) -> None:
    """Another attempt went on from step 10, and has only then saved again."""
    store = folder_store(tmp_path)
    begin = find_claim(job, 0, 10, 1, allow_changes=False).goals[0]
    save(store, SPECS, 40, parent=begin)
    claim = find_claim(job, 10, 40, 1, allow_changes=False)
    assert [goal.step for goal in claim.goals] == [20, 25, 30, 40]
    assert claim.broken == ()


@pytest.mark.parametrize(
    ("begin", "end", "workers", "kind", "words"),
    [
        (0, 15, 1, CheckpointError, r"no checkpoint of step 15\n.*choose one of: 10, 20, 25, 30"),
        (15, 25, 1, CheckpointError, r"no checkpoint of step 15\n.*choose one of: 10, 20$"),
        (25, 25, 1, InputError, "step 25 is not after step 25"),
        (0, 30, 9, InputError, "9 workers cannot share 8 virtual ranks"),
    ],
)
def test_what_cannot_be_proven_is_refused(job: TrainJob, begin, end, workers, kind, words) -> None:
    with pytest.raises(kind, match=words):
        find_claim(job, begin, end, workers, allow_changes=False)


def test_without_checkpoints_or_a_promise_there_is_nothing_to_prove(job: TrainJob, tmp_path) -> None:
    with pytest.raises(CheckpointError, match="saves no checkpoints"):
        find_claim(JOB, 0, None, 1, allow_changes=False)
    with pytest.raises(CheckpointError, match=r"there is no checkpoint\n.*choose one of: none"):
        find_claim(replace(job, checkpoint_uri=(tmp_path / "none").as_uri()), 0, None, 1, allow_changes=False)
    with pytest.raises(InputError, match="makes no promise"):
        find_claim(replace(job, numerics=Numerics.FAST), 0, None, 1, allow_changes=False)


def test_changed_sources_are_refused_unless_allowed(job: TrainJob) -> None:
    changed = replace(job, sources={"recipe.py": b"class Toy: pass"})
    with pytest.raises(CheckpointError, match=r"recipe\.py changed\n.*--allow-changes"):
        find_claim(changed, 0, 30, 1, allow_changes=False)
    assert len(find_claim(changed, 0, 30, 1, allow_changes=True).goals) == 4
