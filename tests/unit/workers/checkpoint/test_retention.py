import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.checkpoints import SMALL_CHUNKS, chunk_path, draft, fill, flip, folder_store, objects, save
from workers.checkpoint.layout import plan_chunks
from workers.checkpoint.load import history, read_manifest, verify
from workers.checkpoint.objects import cut_from
from workers.checkpoint.retention import Pruned, erase, prune, sweep
from workers.checkpoint.save import commit, write_chunks
from workers.checkpoint.tensors import TensorSpec
from workers.errors import AccessError
from workers.storage import Store

SPECS = {
    "model/a": TensorSpec(dtype="F32", shape=(40,)),
    "model/b": TensorSpec(dtype="F32", shape=(70,), frozen=True),
}


def save_steps(store: Store, steps: list[int]) -> None:
    parent = None
    for step in steps:
        parent = save(store, SPECS, step, parent)


@given(st.sets(st.integers(1, 99), min_size=1, max_size=6), st.integers(1, 4), st.data())
@settings(max_examples=30, deadline=None)
def test_what_a_remaining_manifest_names_is_never_removed(steps, keep, data) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        store = folder_store(folder)
        save_steps(store, sorted(steps))
        damaged = data.draw(st.sampled_from([None, *sorted(steps)]))
        if damaged:
            chunk = len(plan_chunks(SPECS, SMALL_CHUNKS)) - 1
            chunk_path(folder, read_manifest(store, damaged), chunk).unlink()
        prune(store, keep)
        sweep(store)
        sound = [step for step in sorted(steps) if step != damaged]
        assert set(sound[-keep:]) <= set(history(store))
        for step in history(store):
            assert verify(store, read_manifest(store, step)) == [] or step == damaged


def test_old_checkpoints_go_with_all_that_only_they_name(tmp_path) -> None:
    store = folder_store(tmp_path)
    save_steps(store, [1, 2, 3])
    alone = folder_store(tmp_path / "alone")
    save(alone, SPECS, 3)
    pruned = prune(store, 1)
    assert pruned.steps == (1, 2)
    assert history(store) == [3]
    assert {n for n in objects(tmp_path) if n.startswith("chunks/")} == {
        n for n in objects(tmp_path / "alone") if n.startswith("chunks/")
    }
    assert not (tmp_path / "sidecars/000000000001.json").exists()
    assert pruned.freed_bytes > 2 * SPECS["model/a"].nbytes


def test_pruning_twice_removes_nothing_more(tmp_path) -> None:
    store = folder_store(tmp_path)
    save_steps(store, [1, 2, 3])
    prune(store, 2)
    assert prune(store, 2) == Pruned()


def test_checkpoints_that_cannot_be_restored_do_not_count(tmp_path) -> None:
    store = folder_store(tmp_path)
    save_steps(store, [1, 2, 3])
    manifest = read_manifest(store, 3)
    chunk_path(tmp_path, manifest, len(manifest.chunks) - 1).unlink()
    prune(store, 1)
    assert history(store) == [2, 3]
    assert verify(store, read_manifest(store, 2)) == []


def test_no_chunk_goes_while_a_remaining_manifest_cannot_be_read(tmp_path) -> None:
    store = folder_store(tmp_path)
    save_steps(store, [1, 2, 3])
    chunks = len(list((tmp_path / "chunks").iterdir()))
    flip(tmp_path / "manifests/000000000003.json", 60)
    assert prune(store, 1) == Pruned(steps=(1,))
    assert sweep(store) == Pruned()
    assert len(list((tmp_path / "chunks").iterdir())) == chunks


def test_a_save_in_flight_survives_the_pruning_of_the_one_before(tmp_path) -> None:
    store = folder_store(tmp_path)
    save_steps(store, [1, 2])
    chunks = plan_chunks(SPECS, SMALL_CHUNKS)
    records = write_chunks(store, chunks, range(len(chunks)), cut_from(fill(SPECS, 3))).records
    assert prune(store, 1).steps == (1,)
    manifest = commit(store, draft(SPECS, 3), records, read_manifest(store, 2))
    assert verify(store, manifest) == []


def test_what_a_killed_save_left_is_swept_unless_it_is_protected(tmp_path) -> None:
    store = folder_store(tmp_path)
    manifest = save(store, SPECS, 1)
    chunks = plan_chunks(SPECS, SMALL_CHUNKS)
    records = write_chunks(store, chunks, range(len(chunks)), cut_from(fill(SPECS, 2))).records
    assert sweep(store, protect={record["sha256"] for record in records.values()}) == Pruned()
    assert sweep(store).chunks == sum(not chunk.frozen for chunk in chunks)
    assert verify(store, manifest) == []


def test_objects_that_are_not_ours_are_left_alone(tmp_path) -> None:
    store = folder_store(tmp_path)
    save_steps(store, [1, 2])
    (tmp_path / "chunks/README").write_text("mine")
    prune(store, 1)
    sweep(store)
    assert (tmp_path / "chunks/README").read_text() == "mine"


def test_killed_after_the_manifests_the_chunks_are_swept_later(tmp_path, monkeypatch) -> None:
    store = folder_store(tmp_path)
    save_steps(store, [1, 2, 3])
    delete = Store.delete

    def denied(self: Store, names: list[str]) -> None:
        if any(name.startswith("chunks/") for name in names):
            raise AccessError("gone")
        delete(self, names)

    with monkeypatch.context() as patch:
        patch.setattr(Store, "delete", denied)
        with pytest.raises(AccessError):
            prune(store, 1)
    assert history(store) == [3]
    assert sweep(store).chunks > 0
    assert verify(store, read_manifest(store, 3)) == []


def test_keeping_nothing_is_refused(tmp_path) -> None:
    with pytest.raises(ValueError, match="at least one"):
        prune(folder_store(tmp_path), 0)


def test_erasing_leaves_nothing_of_ours(tmp_path) -> None:
    store = folder_store(tmp_path)
    save_steps(store, [1, 2])
    (tmp_path / "notes.txt").write_text("mine")
    erase(store)
    assert list(objects(tmp_path)) == ["notes.txt"]


def test_a_sweep_removes_what_killed_writers_left_half_written(tmp_path) -> None:
    store = folder_store(tmp_path)
    save(store, SPECS, 1)
    before = objects(tmp_path)
    for name in ("chunks/aa.safetensors#12", "manifests/000000000002.json#3", "LATEST#456"):
        (tmp_path / name).write_bytes(b"half")
    sweep(store)
    assert objects(tmp_path) == before
