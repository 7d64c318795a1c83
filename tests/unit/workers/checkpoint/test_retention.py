import json
import os
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.checkpoints import SMALL_CHUNKS, chunk_path, draft, fill, flip, folder_store, objects, save
from workers.checkpoint.catalogue import Catalogue
from workers.checkpoint.layout import plan_chunks
from workers.checkpoint.load import history, read_manifest, verify
from workers.checkpoint.objects import cut_from
from workers.checkpoint.policy import Best, Retention
from workers.checkpoint.retention import Pruned, erase, prune, store_time, sweep
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
        prune(store, Retention(last=keep))
        sweep(store, grace_seconds=0)
        sound = [step for step in sorted(steps) if step != damaged]
        assert set(sound[-keep:]) <= set(history(store))
        for step in history(store):
            assert verify(store, read_manifest(store, step)) == [] or step == damaged


def test_old_checkpoints_go_with_all_that_only_they_name(tmp_path) -> None:
    store = folder_store(tmp_path)
    save_steps(store, [1, 2, 3])
    alone = folder_store(tmp_path / "alone")
    save(alone, SPECS, 3)
    pruned = prune(store, Retention(last=1))
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
    prune(store, Retention(last=2))
    assert prune(store, Retention(last=2)) == Pruned()


def test_checkpoints_that_cannot_be_restored_do_not_count(tmp_path) -> None:
    store = folder_store(tmp_path)
    save_steps(store, [1, 2, 3])
    manifest = read_manifest(store, 3)
    chunk_path(tmp_path, manifest, len(manifest.chunks) - 1).unlink()
    prune(store, Retention(last=1))
    assert history(store) == [2, 3]
    assert verify(store, read_manifest(store, 2)) == []


def test_no_chunk_goes_while_a_remaining_manifest_cannot_be_read(tmp_path) -> None:
    store = folder_store(tmp_path)
    save_steps(store, [1, 2, 3])
    chunks = len(list((tmp_path / "chunks").iterdir()))
    flip(tmp_path / "manifests/000000000003.json", 60)
    assert prune(store, Retention(last=1)) == Pruned(steps=(1,), unreadable=(3,))
    assert sweep(store, grace_seconds=0) == Pruned(unreadable=(3,))
    assert len(list((tmp_path / "chunks").iterdir())) == chunks


def test_a_save_in_flight_survives_the_pruning_of_the_one_before(tmp_path) -> None:
    store = folder_store(tmp_path)
    save_steps(store, [1, 2])
    chunks = plan_chunks(SPECS, SMALL_CHUNKS)
    records = write_chunks(store, chunks, range(len(chunks)), cut_from(fill(SPECS, 3))).records
    assert prune(store, Retention(last=1)).steps == (1,)
    manifest = commit(store, draft(SPECS, 3), records, read_manifest(store, 2))
    assert verify(store, manifest) == []


def test_what_a_killed_save_left_is_swept_unless_it_is_protected(tmp_path) -> None:
    store = folder_store(tmp_path)
    manifest = save(store, SPECS, 1)
    chunks = plan_chunks(SPECS, SMALL_CHUNKS)
    records = write_chunks(store, chunks, range(len(chunks)), cut_from(fill(SPECS, 2))).records
    protect = {record["sha256"] for record in records.values()}
    assert sweep(store, grace_seconds=0, protect=protect) == Pruned()
    assert sweep(store, grace_seconds=0).chunks == sum(not chunk.frozen for chunk in chunks)
    assert verify(store, manifest) == []


def test_objects_that_are_not_ours_are_left_alone(tmp_path) -> None:
    store = folder_store(tmp_path)
    save_steps(store, [1, 2])
    (tmp_path / "chunks/README").write_text("mine")
    prune(store, Retention(last=1))
    sweep(store, grace_seconds=0)
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
            prune(store, Retention(last=1))
    assert history(store) == [3]
    assert sweep(store, grace_seconds=0).chunks > 0
    assert verify(store, read_manifest(store, 3)) == []


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
    sweep(store, grace_seconds=0)
    assert objects(tmp_path) == {**before, "clock/now": b""}


def aged(folder: Path, seconds: float) -> None:
    """Let all files be older."""
    for path in folder.rglob("*"):
        then = path.stat().st_mtime - seconds
        os.utime(path, (then, then))


def orphans(store: Store, step: int) -> int:
    """What a save leaves that is killed before its manifest; how many chunks."""
    chunks = plan_chunks(SPECS, SMALL_CHUNKS)
    write_chunks(store, chunks, range(len(chunks)), cut_from(fill(SPECS, step)))
    return sum(not chunk.frozen for chunk in chunks)


def test_what_is_younger_than_the_grace_period_is_not_swept(tmp_path) -> None:
    store = folder_store(tmp_path)
    manifest = save(store, SPECS, 1)
    old = orphans(store, 2)
    unfinished = tmp_path / "chunks/aa.safetensors#12"
    unfinished.write_bytes(b"half")
    aged(tmp_path, 100)
    young = orphans(store, 3)
    fresh = tmp_path / "chunks/bb.safetensors#13"
    fresh.write_bytes(b"half")
    swept = sweep(store, grace_seconds=50)
    assert (swept.chunks, swept.unfinished, swept.spared) == (old, 1, young)
    assert (unfinished.exists(), fresh.exists()) == (False, True)
    assert sweep(store, grace_seconds=50) == Pruned(spared=young)
    assert verify(store, manifest) == []
    assert sweep(store) == Pruned(spared=young), "a day, by default"


def test_a_clock_that_goes_wrong_here_makes_nothing_look_old(tmp_path, monkeypatch) -> None:
    store = folder_store(tmp_path)
    save(store, SPECS, 1)
    young = orphans(store, 2)
    ahead = time.time() + 7 * 86400
    monkeypatch.setattr(time, "time", lambda: ahead)
    assert sweep(store) == Pruned(spared=young)


def test_the_time_is_the_stores_own(tmp_path) -> None:
    before = time.time()
    assert before - 1 <= store_time(folder_store(tmp_path)) <= time.time() + 1


def test_a_dry_run_says_what_would_go_and_changes_nothing(tmp_path) -> None:
    store = folder_store(tmp_path)
    save_steps(store, [1, 2, 3])
    orphans(store, 4)
    (tmp_path / "LATEST#3").write_bytes(b"half")
    flip(tmp_path / "manifests/000000000001.json", 60)  # it goes, and what only it names with it
    before = objects(tmp_path)
    said = prune(store, Retention(last=1), grace_seconds=0, dry_run=True)
    assert objects(tmp_path) == before
    assert said == prune(store, Retention(last=1), grace_seconds=0)
    assert (said.steps, said.unfinished) == ((1, 2), 1)
    assert history(store) == [3]
    left = sum(path.stat().st_size for path in (tmp_path / "chunks").iterdir())
    assert left == sum(len(d) for n, d in before.items() if n.startswith("chunks/")) - said.freed_bytes


def test_multiples_and_the_best_stay(tmp_path) -> None:
    store, parent = folder_store(tmp_path), None
    keep = Retention(last=1, every=4, best=Best(metric="loss", mode="min"))
    for step in range(1, 8):
        parent = save(store, SPECS, step, parent)
        if step != 2:
            text = json.dumps({"metrics": {"loss": abs(step - 3)}})
            (tmp_path / f"sidecars/{step:012d}.json").write_text(text)
    prune(store, keep)
    assert history(store) == [3, 4, 7]
    assert [verify(store, read_manifest(store, step)) for step in (3, 4, 7)] == [[]] * 3


def test_a_save_that_is_committed_between_the_looks_keeps_its_chunks(tmp_path, monkeypatch) -> None:
    store = folder_store(tmp_path)
    save_steps(store, [1, 2])
    again = fill(SPECS, 1)  # the state returns to what it was at step 1: the same chunks
    delete = Store.delete

    def meanwhile(self: Store, names: list[str]) -> None:
        delete(self, names)
        monkeypatch.setattr(Store, "delete", delete)
        chunks = plan_chunks(SPECS, SMALL_CHUNKS)
        records = write_chunks(self, chunks, range(len(chunks)), cut_from(again)).records
        commit(self, {**draft(SPECS, 1), "step": 3}, records, read_manifest(self, 2))

    monkeypatch.setattr(Store, "delete", meanwhile)
    assert prune(store, Retention(last=1)).steps == (1,)
    assert verify(store, read_manifest(store, 3)) == []


def test_manifests_that_were_read_once_are_not_read_again(tmp_path, monkeypatch) -> None:
    store = folder_store(tmp_path)
    save_steps(store, [1, 2, 3])
    catalogue = Catalogue(store)
    entries = catalogue.entries()
    read = []
    get = Store.get
    monkeypatch.setattr(Store, "get", lambda self, name: read.append(name) or get(self, name))
    assert catalogue.entries() == entries
    save(store, SPECS, 4, read_manifest(store, 3))
    del read[:]
    assert list(catalogue.entries()) == [1, 2, 3, 4]
    assert read == ["manifests/000000000004.json"]
    flip(tmp_path / "manifests/000000000002.json", 60)
    assert catalogue.entries()[2].chunks is None


def test_metrics_that_were_read_once_are_not_read_again(tmp_path, monkeypatch) -> None:
    store = folder_store(tmp_path)
    save_steps(store, [1, 2, 3])
    (tmp_path / "sidecars/000000000001.json").write_text('{"metrics": {"loss": 0.5, "name": "x"}}')
    catalogue, read, get = Catalogue(store), [], Store.get
    monkeypatch.setattr(Store, "get", lambda self, name: read.append(name) or get(self, name))
    assert catalogue.metrics([1, 2, 3]) == {1: {"loss": 0.5}, 2: {}, 3: {}}
    (tmp_path / "sidecars/000000000003.json").write_text('{"metrics": {"loss": 0.25}}')
    del read[:]
    assert catalogue.metrics([1, 2, 3]) == {1: {"loss": 0.5}, 2: {}, 3: {"loss": 0.25}}
    assert read == ["sidecars/000000000003.json"], "that of the newest may have been on its way"
