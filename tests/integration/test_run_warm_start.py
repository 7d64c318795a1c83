"""`init_from` and `freeze` from the command line: what is said, and what is refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.support.bits_jobs import BitsJob
from tests.support.lockstep import Lockstep

pytestmark = pytest.mark.ray


@pytest.fixture
def there(trained, tmp_path: Path) -> Path:
    """Another job's checkpoints, of steps 10, 15 and 18."""
    return shutil.copytree(trained.job.checkpoints, tmp_path / "there")


@pytest.fixture
def tuned(job: BitsJob, there: Path) -> BitsJob:
    job.change(
        name="tuned",
        stop={"steps": 6},
        checkpoint={"uri": "runs", "every": 3, "if_busy": "wait"},
        init_from=str(there),
        freeze=["0.*"],
    )
    return job


def test_a_fine_tune_says_what_it_began_with_and_resumes_when_that_is_gone(
    lockstep: Lockstep, tuned: BitsJob, there: Path
) -> None:
    result = lockstep.run(tuned.file, "--workers", 2)
    assert result.code == 0, result.err
    assert any(f"tensors of step 18 of {there.as_uri()}" in e["reason"] for e in result.events("note"))
    own = tuned.folder / "runs" / "tuned"
    shown = lockstep("checkpoint", "show", own, "--json").json
    assert (shown["init_from"]["step"], shown["freeze"]) == (18, ["0.*"])
    assert f'"uri": "{there.as_uri()}"' in lockstep("checkpoint", "show", own).out

    shutil.rmtree(there)
    other = lockstep.run(tuned.file, "--resume", "--set", "freeze=[]", "--set", "stop.steps=9")
    assert other.code == 2
    assert 'freeze: ["0.*"] → []' in other.err
    result = lockstep.run(tuned.file, "--resume", "--set", "stop.steps=9")
    assert result.code == 0, result.err
    assert [*result.steps] == [7, 8, 9]


def test_other_shapes_are_one_error_before_the_first_step(lockstep: Lockstep, tuned: BitsJob) -> None:
    result = lockstep.run(tuned.file, "--workers", 3, "--set", "params.width=16")
    assert (result.code, result.steps) == (2, {})
    assert "Traceback" not in result.err + result.out
    assert "model/4.weight is F32 (24, 8, 3, 3) there and F32 (16, 8, 3, 3) here" in result.err
    assert "choose tensors with init_from.tensors" in result.err
    assert result.err.count("failed (input)") == 1


def test_a_pattern_that_freezes_nothing_is_one_error(lockstep: Lockstep, tuned: BitsJob) -> None:
    result = lockstep.run(tuned.file, "--workers", 2, "--set", 'freeze=["0.wieght", "4.*"]')
    assert (result.code, result.steps) == (2, {})
    assert "Traceback" not in result.err
    assert "freeze: 0.wieght matches no parameter; the nearest is 0.weight" in result.err


def test_what_is_not_there_is_found_before_anything_is_started(
    lockstep: Lockstep, tuned: BitsJob, there: Path
) -> None:
    for change, said in (
        (f"init_from={there.parent / 'nowhere'}", "there are no checkpoints here"),
        (f"init_from={there}/x.safetensors", "there is no such file"),
        (f"init_from={{uri: {there}, step: 12}}", "choose one of: 10, 15, 18"),
        (f"init_from={{uri: {there}, stpe: 12}}", "init_from.stpe: unknown field\n  → did you mean step?"),
    ):
        result = lockstep.run(tuned.file, "--set", change)
        assert result.code == 2
        assert said in result.err
        assert result.log == []
