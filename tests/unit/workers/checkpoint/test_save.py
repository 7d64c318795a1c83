import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.checkpoints import (
    JOB,
    SMALL_CHUNKS,
    chunk_path,
    draft,
    fill,
    flip,
    folder_store,
    objects,
    save,
    specs_strategy,
)
from workers.checkpoint.layout import plan_chunks
from workers.checkpoint.load import history, newest, read_manifest, verify
from workers.checkpoint.objects import cut_from
from workers.checkpoint.save import commit, write_chunks
from workers.checkpoint.tensors import TensorSpec
from workers.errors import CheckpointError

SPECS = {
    "model/a": TensorSpec(dtype="F32", shape=(40,)),
    "model/b": TensorSpec(dtype="F32", shape=(900,), frozen=True),
    "model/c": TensorSpec(dtype="BF16", shape=(3, 3)),
    "optimizer/a/step": TensorSpec(dtype="F32", shape=()),
}


def write_all(store, step: int, specs=SPECS, **options):
    chunks = plan_chunks(specs, SMALL_CHUNKS)
    return write_chunks(store, chunks, range(len(chunks)), cut_from(fill(specs, step)), **options)


@given(specs_strategy(), st.lists(st.integers(1, 9), min_size=2, max_size=3))
@settings(max_examples=15, deadline=None)
def test_any_number_of_workers_writes_the_same_files(specs, worlds) -> None:
    written = []
    for world in worlds:
        with tempfile.TemporaryDirectory() as folder:
            store = folder_store(Path(folder))
            parent = save(store, specs, 1, world=world)
            save(store, specs, 2, parent, world=world)
            written.append(objects(Path(folder)))
    assert all(files == written[0] for files in written)


def test_frozen_tensors_cost_nothing_after_the_first_save(tmp_path) -> None:
    store = folder_store(tmp_path)
    intact: set[str] = set()
    first, second = (write_all(store, step, intact=intact) for step in (1, 2))
    frozen_bytes = SPECS["model/b"].nbytes
    assert first.written_bytes > frozen_bytes
    assert second.written_bytes < first.written_bytes - frozen_bytes
    frozen = {n for n, chunk in enumerate(plan_chunks(SPECS, SMALL_CHUNKS)) if chunk.frozen}
    assert {n for n in first.records if first.records[n] == second.records[n]} == frozen


def test_chunks_with_equal_bytes_are_one_object(tmp_path) -> None:
    zeros = {"model/w": TensorSpec(dtype="U8", shape=(4 * SMALL_CHUNKS,))}
    tensors = fill(zeros)
    tensors["model/w"] = replace(tensors["model/w"], data=memoryview(bytes(zeros["model/w"].nbytes)))
    chunks = plan_chunks(zeros, SMALL_CHUNKS)
    records = write_chunks(folder_store(tmp_path), chunks, range(4), cut_from(tensors)).records
    assert len({record["sha256"] for record in records.values()}) == 1
    assert len(objects(tmp_path)) == 1


def test_writing_again_writes_nothing_that_is_known_to_be_there(tmp_path) -> None:
    store = folder_store(tmp_path)
    intact: set[str] = set()
    first = write_all(store, 1, intact=intact)
    again = write_all(store, 1, intact=intact)
    assert again.records == first.records
    assert again.written_bytes == 0


def test_an_altered_chunk_is_mended_when_training_makes_it_again(tmp_path) -> None:
    store = folder_store(tmp_path)
    manifest = save(store, SPECS, 1)
    flip(chunk_path(tmp_path, manifest, 0), 99)
    assert verify(store, manifest)
    write_all(store, 1)
    assert not verify(store, manifest)


def test_a_chunk_that_is_known_to_be_intact_is_not_read_again(tmp_path) -> None:
    store = folder_store(tmp_path)
    manifest = save(store, SPECS, 1)
    flip(chunk_path(tmp_path, manifest, 0), 99)
    known = write_all(store, 1, intact={record.sha256 for record in manifest.chunks})
    assert known.written_bytes == 0


def test_a_chunk_of_the_wrong_size_is_written_again_even_so(tmp_path) -> None:
    store = folder_store(tmp_path)
    manifest = save(store, SPECS, 1)
    chunk_path(tmp_path, manifest, 0).write_bytes(b"")
    write_all(store, 1, intact={record.sha256 for record in manifest.chunks})
    assert not verify(store, manifest)


def test_a_commit_whose_chunks_are_not_there_is_refused(tmp_path) -> None:
    store = folder_store(tmp_path)
    records = write_all(store, 1).records
    store.delete([f"chunks/{records[0]['sha256']}.safetensors"])
    with pytest.raises(CheckpointError, match="is missing"):
        commit(store, draft(SPECS, 1), records, None)
    assert history(store) == []


def test_a_commit_that_lacks_a_worker_is_refused(tmp_path) -> None:
    store = folder_store(tmp_path)
    records = dict(write_all(store, 1).records)
    del records[max(records)]
    with pytest.raises(CheckpointError, match="the chunks do not hold"):
        commit(store, draft(SPECS, 1), records, None)
    assert history(store) == []


def test_two_attempts_at_one_step_agree(tmp_path) -> None:
    store = folder_store(tmp_path)
    first = save(store, SPECS, 1, world=2)
    before = objects(tmp_path)
    assert save(store, SPECS, 1, world=3) == first
    assert objects(tmp_path) == before


def test_an_attempt_that_came_another_way_to_the_same_state_yields(tmp_path) -> None:
    store = folder_store(tmp_path)
    first = save(store, SPECS, 1)
    third = save(store, SPECS, 3, parent=first)
    second = save(store, SPECS, 2, parent=first)
    assert save(store, SPECS, 3, parent=second) == third
    assert read_manifest(store, 3) == third


def test_another_state_at_a_committed_step_is_refused_and_changes_nothing(tmp_path) -> None:
    store = folder_store(tmp_path)
    first = save(store, SPECS, 1)
    other_job = draft(SPECS, 1, replace(JOB, seed=8)) | {"state_digest": "00" * 32}
    with pytest.raises(CheckpointError, match="with other seed, state_digest") as caught:
        commit(store, other_job, write_all(store, 1).records, None)
    assert caught.value.where.endswith("manifests/000000000001.json")
    assert read_manifest(store, 1) == first


def test_an_altered_manifest_is_replaced_when_its_step_is_saved_again(tmp_path) -> None:
    store = folder_store(tmp_path)
    first = save(store, SPECS, 1)
    flip(tmp_path / "manifests/000000000001.json", 40)
    assert newest(store)[0] is None
    save(store, SPECS, 1)
    assert newest(store) == (first, [])


def test_a_checkpoint_that_cannot_be_restored_gives_way_to_another_state(tmp_path) -> None:
    store = folder_store(tmp_path)
    first = save(store, SPECS, 1)
    flip(chunk_path(tmp_path, first, len(first.chunks) - 1), 99)
    resized = SPECS | {"model/c": TensorSpec(dtype="BF16", shape=(4, 4))}
    second = save(store, resized, 1)
    assert read_manifest(store, 1) == second
    assert not verify(store, second)


def test_what_varies_goes_beside_the_manifest(tmp_path) -> None:
    store = folder_store(tmp_path)
    commit(store, draft(SPECS, 1), write_all(store, 1).records, None, sidecar={"workers": 3})
    files = objects(tmp_path)
    assert files["sidecars/000000000001.json"] == b'{"workers": 3}'
    assert files["LATEST"] == b"manifests/000000000001.json\n"
    assert b"workers" not in files["manifests/000000000001.json"]


def test_a_commit_stands_although_the_hints_cannot_be_written(tmp_path) -> None:
    store = folder_store(tmp_path)
    (tmp_path / "sidecars").write_text("in the way")
    manifest = save(store, SPECS, 1)
    assert newest(store) == (manifest, [])
