"""Checkpoints on a real S3 server: the same bytes as on local files, and one winner of every race."""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Barrier

import pytest
import torch
from typer.testing import CliRunner

from orchestrator.cli.checkpoint import app
from tests.support.checkpoints import JOB, draft, fill, folder_store, objects, save
from workers.checkpoint.export import export
from workers.checkpoint.layout import plan_chunks
from workers.checkpoint.load import history, read_manifest, restore, verify
from workers.checkpoint.objects import chunk_name, cut_from
from workers.checkpoint.policy import Retention
from workers.checkpoint.retention import Pruned, prune, sweep
from workers.checkpoint.save import commit, write_chunks
from workers.checkpoint.tensors import TensorSpec
from workers.errors import AccessError, CheckpointError
from workers.storage import Store

pytestmark = pytest.mark.s3

SPECS = {
    "model/a": TensorSpec(dtype="F32", shape=(300,)),
    "model/b": TensorSpec(dtype="BF16", shape=(70,), frozen=True),
    "optimizer/a/step": TensorSpec(dtype="F32", shape=()),
}
CHUNK_BYTES = 256
ATTEMPTS = 20


@pytest.fixture
def store(bucket) -> Store:
    return Store(f"{bucket}/jobs/toy")


def written(store: Store, step: int):
    chunks = plan_chunks(SPECS, CHUNK_BYTES)
    return write_chunks(store, chunks, range(len(chunks)), cut_from(fill(SPECS, step))).records


def test_holds_the_same_objects_as_a_folder(store, tmp_path) -> None:
    for target, world in ((store, 3), (folder_store(tmp_path), 2)):
        first = save(target, SPECS, 1, world=world, chunk_bytes=CHUNK_BYTES)
        save(target, SPECS, 2, first, world=world, chunk_bytes=CHUNK_BYTES)
    assert {info.name: store.get(info.name) for info in store.list()} == objects(tmp_path)


def test_restores_past_damage_prunes_and_exports(store, tmp_path) -> None:
    manifest = None
    for step in (1, 2, 3):
        manifest = save(store, SPECS, step, manifest, chunk_bytes=CHUNK_BYTES)
    altered = chunk_name(manifest.chunks[-1].sha256)
    store.put(altered, bytes(manifest.chunks[-1].size))
    found, tensors, notes = restore(store)
    assert (found.step, tensors) == (2, fill(SPECS, 2))
    assert [note.where for note in notes] == [store.url(altered)]
    assert prune(store, Retention(last=2)).steps == (1,)
    assert verify(store, found) == []
    export(store, found, tmp_path / "out.safetensors")
    assert found.state_digest.encode() in (tmp_path / "out.safetensors").read_bytes()


def test_what_killed_saves_left_is_swept_by_the_stores_own_clock(store, monkeypatch) -> None:
    manifest = save(store, SPECS, 1, chunk_bytes=CHUNK_BYTES)
    left = len({record["sha256"] for record in written(store, 2).values()})
    young = left - sum(chunk.frozen for chunk in plan_chunks(SPECS, CHUNK_BYTES))
    ahead = time.time() + 7 * 86400
    monkeypatch.setattr(time, "time", lambda: ahead)
    assert sweep(store) == Pruned(spared=young)
    said = prune(store, grace_seconds=0, dry_run=True)
    assert said == sweep(store, grace_seconds=0)
    assert said.chunks == young
    assert verify(store, manifest) == []


def test_checkpoints_are_compared_exported_and_followed_back(store, tmp_path) -> None:
    manifest = None
    for step in (1, 2, 3):
        manifest = save(store, SPECS, step, manifest, chunk_bytes=CHUNK_BYTES)
    runner = CliRunner()
    found = runner.invoke(app, ["diff", f"{store.uri}@1", store.uri, "--json"])
    assert found.exit_code == 1, found.output
    assert [entry["key"] for entry in json.loads(found.stdout)["tensors"]] == ["model/a", "optimizer/a/step"]
    out = tmp_path / "out.pt"
    assert runner.invoke(app, ["export", store.uri, str(out)]).exit_code == 0
    loaded = torch.load(out, weights_only=True)
    assert {
        key: tensor.reshape(-1).view(torch.uint8).numpy().tobytes() for key, tensor in loaded.items()
    } == {key: bytes(tensor.data) for key, tensor in fill(SPECS, 3).items()}
    pruned = runner.invoke(app, ["prune", store.uri, "--keep", "1", "--keep-every", "2", "--json"])
    assert json.loads(pruned.stdout)["kept"] == [2, 3]
    shown = json.loads(runner.invoke(app, ["show", store.uri, "--json"]).stdout)
    assert [(a["step"], a["state"]) for a in shown["lineage"]["ancestors"]] == [(2, "intact"), (1, "gone")]


def test_of_two_different_states_exactly_one_is_committed(store) -> None:
    together = Barrier(2)

    def attempt(step: int, records: object, seed: int):
        other = draft(SPECS, step, replace(JOB, seed=seed))
        together.wait()
        try:
            return commit(store, other, records, None)
        except CheckpointError as error:
            return error

    with ThreadPoolExecutor(2) as pool:
        for step in range(1, ATTEMPTS + 1):
            outcomes = list(pool.map(attempt, [step] * 2, [written(store, step)] * 2, [1, 2]))
            (loser,) = [outcome for outcome in outcomes if isinstance(outcome, CheckpointError)]
            (winner,) = [outcome for outcome in outcomes if outcome is not loser]
            assert "with other seed" in loser.what
            assert read_manifest(store, step) == winner


def test_without_permission_nothing_is_written_and_the_bucket_is_named(s3, store, monkeypatch) -> None:
    manifest = save(store, SPECS, 1, chunk_bytes=CHUNK_BYTES)
    records = written(store, 2)
    for name, value in s3.environment(s3.stranger).items():
        monkeypatch.setenv(name, value)
    denied = Store(store.uri)
    with pytest.raises(AccessError, match="jobs/toy"):
        written(denied, 3)
    with pytest.raises(AccessError, match="jobs/toy"):
        commit(denied, draft(SPECS, 2), records, manifest)
    assert history(store) == [1]
