import hashlib
import json

import pytest
import safetensors
from typer.testing import CliRunner

from orchestrator.cli.checkpoint import app
from tests.support.checkpoints import chunk_path, flip, folder_store, save
from workers.checkpoint.tensors import TensorSpec
from workers.errors import CheckpointError

SPECS = {
    "model/a": TensorSpec(dtype="F32", shape=(40,)),
    "model/layers.0.attention.projection.weight": TensorSpec(dtype="F32", shape=(3, 4), frozen=True),
    "optimizer/a/step": TensorSpec(dtype="F32", shape=()),
}


@pytest.fixture
def job(tmp_path):
    """A folder with a job of three checkpoints."""
    folder = tmp_path / "jobs" / "toy"
    store, manifest = folder_store(folder), None
    for step in (10, 20, 30):
        manifest = save(store, SPECS, step, manifest)
    return folder, manifest


def run(*arguments: object) -> str:
    """What a command prints; its error if it raises one."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None:
        raise result.exception
    return result.stdout


def test_list_shows_each_checkpoint(job) -> None:
    folder, manifest = job
    (found,) = json.loads(run("list", folder, "--json"))["jobs"]
    assert found["uri"] == folder.as_uri()
    assert [entry["step"] for entry in found["checkpoints"]] == [10, 20, 30]
    assert found["checkpoints"][-1]["state_digest"] == manifest.state_digest
    assert manifest.state_digest[:16] in run("list", folder)


def test_list_finds_all_jobs_below_a_prefix_and_others_ask_which(job, tmp_path) -> None:
    save(folder_store(tmp_path / "jobs" / "b"), SPECS, 5)
    listed = json.loads(run("list", tmp_path, "--json"))["jobs"]
    assert [entry["uri"].removeprefix(tmp_path.as_uri()) for entry in listed] == ["/jobs/b", "/jobs/toy"]
    for command in (["show"], ["verify"]):
        with pytest.raises(CheckpointError, match=r"2 jobs have checkpoints here\n.*jobs/b, .*jobs/toy"):
            run(*command, tmp_path)


def test_a_prefix_with_one_job_is_that_job(job, tmp_path) -> None:
    assert json.loads(run("show", tmp_path, "--json"))["step"] == 30


def test_list_goes_on_beside_damage(job) -> None:
    folder, manifest = job
    flip(folder / "manifests/000000000010.json", 50)
    chunk_path(folder, manifest, 1).unlink()
    entries = json.loads(run("list", folder, "--json"))["jobs"][0]["checkpoints"]
    assert ["altered" in (e["problem"] or "") for e in entries] == [True, False, False]
    assert "is missing" in entries[2]["problem"]
    assert "altered" in run("list", folder)


def test_show_says_where_a_checkpoint_comes_from_and_what_it_holds(job) -> None:
    folder, manifest = job
    shown = json.loads(run("show", folder, "--step", 20, "--json"))
    assert (shown["step"], shown["parent"]["step"]) == (20, 10)
    text = run("show", folder)
    assert manifest.state_digest in text
    assert "model/layers.0.attention.projection.weight" in text
    assert "3×4" in text


def test_verify_passes_what_is_intact(job) -> None:
    folder, _ = job
    assert json.loads(run("verify", folder, "--all", "--json"))["ok"] is True
    assert "step 30: intact" in run("verify", folder)


def test_verify_names_a_damaged_chunk_and_its_step(job) -> None:
    folder, manifest = job
    path = chunk_path(folder, manifest, len(manifest.chunks) - 1)
    flip(path, 3)
    result = CliRunner().invoke(app, ["verify", str(folder), "--all", "--json"])
    assert isinstance(result.exception, CheckpointError)
    assert "step 30" in result.exception.what
    problems = [c["problems"] for c in json.loads(result.stdout)["checkpoints"]]
    assert problems[:2] == [[], []]
    assert problems[2][0]["object"] == path.as_uri()
    assert path.name in CliRunner().invoke(app, ["verify", str(folder)]).stdout


def test_verify_names_an_altered_manifest(job) -> None:
    folder, _ = job
    flip(folder / "manifests/000000000030.json", 100)
    with pytest.raises(CheckpointError, match="damaged: step 30"):
        run("verify", folder)
    assert json.loads(run("verify", folder, "--step", 20, "--json"))["ok"] is True


def test_export_can_be_read_and_proven_by_others(job, tmp_path) -> None:
    folder, manifest = job
    out = tmp_path / "out.safetensors"
    said = json.loads(run("export", folder, out, "--json"))
    digest = hashlib.sha256()
    for key, entry in sorted(safetensors.deserialize(out.read_bytes())):
        shape = json.dumps(entry["shape"], separators=(",", ":"))
        digest.update(f"{key}\0{entry['dtype']}\0{shape}\0".encode() + entry["data"])
    assert digest.hexdigest() == said["state_digest"] == manifest.state_digest


@pytest.mark.parametrize("command", ["list", "show", "verify"])
def test_a_folder_without_checkpoints_says_so(tmp_path, command) -> None:
    with pytest.raises(CheckpointError, match="there are no checkpoints here"):
        run(command, tmp_path)


def test_a_step_that_is_not_there_is_answered_with_those_that_are(job) -> None:
    with pytest.raises(CheckpointError, match="choose one of: 10, 20, 30"):
        run("show", job[0], "--step", 21)
