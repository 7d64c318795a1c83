"""`lockstep verify`: what a job has saved is proven, or said where it is not so."""

from __future__ import annotations

import pytest

from orchestrator.prepare import resolve
from orchestrator.spec import load_job
from tests.support.again_jobs import AgainJob, again_job, numbers_in
from tests.support.bits_jobs import BitsJob
from tests.support.checkpoints import chunk_path, flip, folder_store, objects
from tests.support.lockstep import Lockstep
from tests.support.recipes_again import FLIP
from workers.checkpoint.load import read_manifest
from workers.checkpoint.manifest import Manifest
from workers.checkpoint.objects import manifest_name
from workers.processes import launch
from workers.protocol import StepDone

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory) -> Lockstep:
    return Lockstep(folder=tmp_path_factory.mktemp("verify"))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> AgainJob:
    """By two workers, with checkpoints of steps 8, 16, 24, 32 and 36."""
    folder = tmp_path_factory.mktemp("trained")
    return again_job(folder / "job", numbers_in(folder / "data"), steps=36, every=8).train(2)


@pytest.mark.parametrize(
    ("options", "proven"),
    [
        ((), [8, 16, 24, 32, 36]),
        (("--from", 8, "--to", 32, "--workers", 3), [16, 24, 32]),
    ],
)
def test_what_was_trained_is_proven_on_any_number_of_workers(
    command: Lockstep, trained: AgainJob, options, proven
) -> None:
    before = objects(trained.folder)
    result = command("verify", trained.file, *options, "--json")
    assert result.code == 0, result.err
    assert result.json["proven"] is True
    assert result.json["checkpoints"] == proven
    assert "proven equal: steps " in result.err
    assert {k: v for k, v in objects(trained.folder).items() if "__pycache__" not in k} == {
        k: v for k, v in before.items() if "__pycache__" not in k
    }


def test_a_process_that_miscalculates_is_named_with_step_and_tensor(
    command: Lockstep, trained: AgainJob
) -> None:
    """After the last step before a checkpoint, so that nobody else has heard of it."""
    faulty = command.with_environment({FLIP: "worker-2:24"})
    result = faulty("verify", trained.file, "--from", 8, "--workers", 3, "--json")
    assert result.code == 1, result.err
    assert result.json["checkpoints"] == [16]
    found = result.json["first_difference"]
    assert (found["step"], found["workers"], found["workers_agree"]) == (24, [2], False)
    [tensor] = found["tensors"]
    assert (tensor["key"], tensor["elements"], tensor["of"]) == ("model/embed.weight", 1, 16)
    assert tensor["max_abs"] == pytest.approx(0.125, rel=1e-5)
    assert "NOT equal at step 24; up to step 16 it is" in result.err


def test_what_grows_from_an_error_is_told_from_its_first_checkpoint_on(
    command: Lockstep, trained: AgainJob
) -> None:
    result = command.with_environment({FLIP: "any:20"})("verify", trained.file, "--to", 24)
    assert result.code == 1
    assert "NOT equal at step 24; up to step 16 it is" in result.out
    assert "model/embed.weight differs in" in result.out
    assert "optimizer/head.weight/exp_avg differs in" in result.out


def test_a_recipe_that_changed_is_refused_and_then_proves_nothing(
    command: Lockstep, trained: AgainJob, tmp_path
) -> None:
    job = trained.copy(tmp_path / "job")
    job.recipe.write_text(job.recipe.read_text() + "\n# changed\n")
    refused = command("verify", job.file, "--to", 16)
    assert refused.code == 2
    assert "recipe.py changed" in refused.err
    assert "--allow-changes" in refused.err
    allowed = command("verify", job.file, "--to", 16, "--allow-changes", "--json")
    assert allowed.code == 0
    assert (allowed.json["equal"], allowed.json["proven"]) == (True, False)
    assert allowed.json["changes"] == ["recipe.py changed"]
    assert "not a proof, because something changed since then:" in allowed.err
    assert "equal, but nothing is proven" in allowed.err


def test_another_environment_is_no_proof_either(command: Lockstep, trained: AgainJob, tmp_path) -> None:
    """Here, that of the checkpoints: another CPU wrote them."""
    job = trained.copy(tmp_path / "job")
    store, parent = folder_store(job.checkpoints), None
    for step in (8, 16):
        body = read_manifest(store, step).json()
        draft = {**body, "fingerprint": {**body["fingerprint"], "cpu_capability": "other"}}
        manifest = Manifest.compose(draft, dict(enumerate(body["chunks"])), parent)
        (job.checkpoints / manifest_name(step)).write_bytes(manifest.to_bytes())
        parent = manifest
    refused = command("verify", job.file, "--to", 16)
    assert refused.code == 2
    assert 'environment cpu_capability: "other" → ' in refused.err
    allowed = command("verify", job.file, "--to", 16, "--allow-changes", "--json")
    assert (allowed.code, allowed.json["proven"]) == (0, False)


def test_a_chain_that_does_not_hold_is_no_proof(command: Lockstep, trained: AgainJob, tmp_path) -> None:
    """Step 8 was written anew, by a run with another past."""
    job = trained.copy(tmp_path / "job")
    body = read_manifest(folder_store(job.checkpoints), 8).json()
    other = Manifest.compose({**body, "job": "another"}, dict(enumerate(body["chunks"])), None)
    (job.checkpoints / manifest_name(8)).write_bytes(other.to_bytes())
    result = command("verify", job.file, "--to", 16, "--json")
    assert result.code == 1
    assert (result.json["equal"], result.json["proven"]) == (True, False)
    assert "step 16 follows a checkpoint of step 8 with the hash" in result.json["broken_links"][0]


def test_a_damaged_checkpoint_and_a_recipe_that_raises_are_told_without_our_traceback(
    command: Lockstep, trained: AgainJob, tmp_path
) -> None:
    job = trained.copy(tmp_path / "job")
    manifest = read_manifest(folder_store(job.checkpoints), 8)
    flip(chunk_path(job.checkpoints, manifest, 0), 100)
    result = command("verify", job.file, "--from", 8, "--to", 16, "--workers", 2)
    assert result.code == 2
    assert "the chunk is altered" in result.err
    job.recipe.write_text(job.recipe.read_text().replace("weight = batch", "weight = btch"))
    result = command("verify", job.file, "--to", 8, "--allow-changes")
    assert result.code == 1
    assert "NameError: name 'btch' is not defined" in result.err
    assert "workers/replay" not in result.err


def test_short_steps_schedules_augmentation_and_evaluations_change_nothing(
    command: Lockstep, job: BitsJob
) -> None:
    """Six steps an epoch; in the last one only one virtual rank has a sample. Three workers trained it."""
    job.change(checkpoint={"uri": "runs", "every": 5, "keep": 10, "if_busy": "wait"})
    steps = {e.step: e for e in launch(resolve(load_job(job.file), job.file), 3) if isinstance(e, StepDone)}
    result = command("verify", job.file, "--workers", 2, "--json")
    assert result.code == 0, result.err
    assert (result.json["proven"], result.json["checkpoints"]) == (True, [5, 10, 15, 18])
    seen = command("replay", job.file, "--step", 12, "--json").json
    assert (seen["loss"], seen["values"]) == (steps[12].loss, dict(steps[12].values))
    [vrank] = [one["vrank"] for one in seen["vranks"] if one["count"]]
    assert [len(one["samples"]) for one in seen["vranks"]] == [one["count"] for one in seen["vranks"]]
    none = command("replay", job.file, "--step", 12, "--pdb", "--vrank", (vrank + 1) % 8)
    assert none.code == 2
    assert f"choose one of: {vrank}" in none.err


def test_a_process_that_dies_is_told(command: Lockstep, trained: AgainJob, tmp_path) -> None:
    job = trained.copy(tmp_path / "job")
    dying = "if current_process().name == 'worker-1': os._exit(9)\n        weight = batch"
    job.recipe.write_text(job.recipe.read_text().replace("weight = batch", dying))
    result = command("verify", job.file, "--to", 8, "--allow-changes", "--workers", 3)
    assert result.code == 1
    assert "process 1: died: exit code 9" in result.err
