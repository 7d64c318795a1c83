import hashlib
import json
import os

import pytest
import safetensors
import torch
from typer.testing import CliRunner

from orchestrator.cli.checkpoint import app
from tests.support.checkpoints import chunk_path, flip, folder_store, save
from workers.checkpoint.tensors import TensorSpec
from workers.errors import CheckpointError, InputError

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


def different(*arguments: object) -> str:
    """What `diff` prints of two that differ."""
    result = CliRunner().invoke(app, ["diff", *map(str, arguments)])
    assert result.exit_code == 1, result.output
    return result.stdout


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


@pytest.mark.parametrize("command", ["list", "show", "verify", "prune"])
def test_a_folder_without_checkpoints_says_so(tmp_path, command) -> None:
    with pytest.raises(CheckpointError, match="there are no checkpoints here"):
        run(command, tmp_path)


def test_a_step_that_is_not_there_is_answered_with_those_that_are(job) -> None:
    with pytest.raises(CheckpointError, match="choose one of: 10, 20, 30"):
        run("show", job[0], "--step", 21)


def test_show_prints_the_chain_back_to_step_0(job) -> None:
    folder, _ = job
    shown = json.loads(run("show", folder, "--json"))
    sha256 = {s: json.loads(run("show", folder, "--step", s, "--json"))["sha256"] for s in (10, 20)}
    assert shown["lineage"] == {
        "ancestors": [{"step": s, "sha256": sha256[s], "state": "intact"} for s in (20, 10)],
        "whole": True,
    }
    flip(folder / "manifests/000000000010.json", 50)
    lines = [line.split(maxsplit=3) for line in run("show", folder).splitlines() if line.startswith(" " * 14)]
    assert lines[:2] == [
        ["step", "20", sha256[20][:16], "is here, as its child names it"],
        ["step", "10", sha256[10][:16], "its manifest is here and ALTERED"],
    ]
    (folder / "manifests/000000000010.json").unlink()
    text = run("show", folder)
    assert "is not kept any more" in text
    assert "what was before is not known here" in text


def test_export_for_torch(job, tmp_path) -> None:
    folder, manifest = job
    said = json.loads(run("export", folder, tmp_path / "out.pt", "--json"))
    loaded = torch.load(tmp_path / "out.pt", weights_only=True)
    run("export", folder, tmp_path / "out.safetensors")
    with safetensors.safe_open(tmp_path / "out.safetensors", "pt") as file:
        assert set(loaded) == set(file.keys()) == set(SPECS)
        for key, tensor in loaded.items():
            other = file.get_tensor(key)
            assert (tensor.dtype, tensor.shape) == (other.dtype, other.shape)
            assert tensor.numpy().tobytes() == other.numpy().tobytes()
    assert (said["tensors"], said["state_digest"]) == (3, manifest.state_digest)


@pytest.mark.parametrize("name", ["out.pt", "out.safetensors"])
def test_export_of_some_tensors(job, tmp_path, name) -> None:
    folder, _ = job
    expected = {
        "model/": {"model/a", "model/layers.0.attention.projection.weight"},
        "*/a": {"model/a", "optimizer/a/step"},
        "model/*.weight": {"model/layers.0.attention.projection.weight"},
    }
    for pattern, keys in expected.items():
        assert json.loads(run("export", folder, tmp_path / name, "--only", pattern, "--json"))[
            "tensors"
        ] == len(keys)
        if name.endswith(".pt"):
            assert torch.load(tmp_path / name, weights_only=True).keys() == keys
        else:
            with safetensors.safe_open(tmp_path / name, "np") as file:
                assert set(file.keys()) == keys
                assert "state_digest" not in file.metadata()
    both = run("export", folder, tmp_path / name, "--only", "model/a", "--only", "optimizer/", "--json")
    assert json.loads(both)["tensors"] == 2
    with pytest.raises(CheckpointError, match=r"no tensor's key begins with modle/\n.*model/a"):
        run("export", folder, tmp_path / name, "--only", "modle/")


def test_diff_says_which_tensors_differ_and_by_how_much(job, tmp_path) -> None:
    folder, _ = job
    found = json.loads(different(f"{folder}@10", folder, "--json"))
    assert (found["a"], found["b"]) == (f"{folder.as_uri()}@10", f"{folder.as_uri()}@30")
    assert [entry["key"] for entry in found["tensors"]] == ["model/a", "optimizer/a/step"]
    assert found["tensors"][0]["elements"] == 40
    assert found["facts"]["step"] == {"a": 10, "b": 30}
    assert (found["equal"], found["same"], found["only_a"]) == (1, False, [])
    text = different(f"{folder}@10", f"{folder}@20")
    assert "1 tensor equal, 2 tensors differ" in text
    assert "step: 10 → 20" in text
    run("export", folder, tmp_path / "part.safetensors", "--only", "model/")
    assert "only in b: optimizer/a/step" in different(tmp_path / "part.safetensors", folder)


def test_diff_of_what_is_equal_ends_with_0(job, tmp_path) -> None:
    folder, _ = job
    again = tmp_path / "again"
    save(folder_store(again), SPECS, 30)
    found = json.loads(run("diff", again, f"{folder.as_uri()}@30", "--json"))
    assert (found["same"], found["tensors"], found["facts"], found["read_bytes"]) == (True, [], {}, 0)
    run("export", folder, tmp_path / "out.safetensors")
    assert "3 tensors equal, 0 tensors differ" in run("diff", tmp_path / "out.safetensors", folder)
    with pytest.raises(CheckpointError, match="choose one of: 10, 20, 30"):
        run("diff", f"{folder}@11", folder)


def test_prune_says_what_it_removes_and_how_much_that_is(job) -> None:
    folder, _ = job
    before = {path.name: path.stat().st_size for path in (folder / "chunks").iterdir()}
    said = json.loads(run("prune", folder, "--keep", 1, "--keep-every", 10, "--dry-run", "--json"))
    assert (said["steps"], said["kept"], said["chunks"]) == ([], [10, 20, 30], 0)
    said = json.loads(run("prune", folder, "--keep", 1, "--keep-every", 20, "--dry-run", "--json"))
    assert (said["steps"], said["kept"], said["dry_run"]) == ([10], [20, 30], True)
    assert {path.name for path in (folder / "chunks").iterdir()} == set(before)
    done = json.loads(run("prune", folder, "--keep", 1, "--keep-every", 20, "--json"))
    assert done == {**said, "dry_run": False}
    left = {path.name for path in (folder / "chunks").iterdir()}
    assert done["bytes"] == sum(size for name, size in before.items() if name not in left) > 0
    assert json.loads(run("verify", folder, "--all", "--json"))["ok"] is True


def test_prune_keeps_the_best(job) -> None:
    folder, _ = job
    for step, accuracy in ((10, 0.9), (20, 0.5)):
        path = folder / f"sidecars/{step:012d}.json"
        path.write_text(json.dumps({"metrics": {"eval:accuracy": accuracy}}))
    text = run("prune", folder, "--keep", 1, "--keep-best", "eval:accuracy:max:1")
    assert "removed 1 checkpoint: 20" in text
    assert "kept 10, 30" in text


def test_prune_leaves_alone_what_may_be_of_a_save_on_its_way(job) -> None:
    folder, _ = job
    orphan = folder / f"chunks/{'ab' * 32}.safetensors"
    orphan.write_bytes(b"x" * 1000)
    text = run("prune", folder)
    assert "removed 0 checkpoints\nremoved 0 chunks, 0 B\nleft 1 chunk alone that no checkpoint names" in text
    assert json.loads(run("prune", folder, "--grace", 60, "--json"))["spared"] == 1
    then = orphan.stat().st_mtime - 61
    os.utime(orphan, (then, then))
    said = json.loads(run("prune", folder, "--grace", 60, "--json"))
    assert (said["chunks"], said["bytes"], said["spared"], said["steps"]) == (1, 1000, 0, [])
    assert not orphan.exists()


def test_prune_names_checkpoints_that_keep_all_chunks_alive(job) -> None:
    folder, _ = job
    flip(folder / "manifests/000000000030.json", 50)
    assert "left all chunks alone: nobody knows what these checkpoints name: 30" in run(
        "prune", folder, "--keep", 1
    )


@pytest.mark.parametrize("wrong", ["loss", "loss:least", "loss:min:0", ":min", "loss:min:x"])
def test_prune_asks_for_what_it_cannot_make_out(job, wrong) -> None:
    with pytest.raises(InputError, match="does not say what is best"):
        run("prune", job[0], "--keep", 1, "--keep-best", wrong)
    with pytest.raises(InputError, match="while all checkpoints stay"):
        run("prune", job[0], "--keep-every", 3)
