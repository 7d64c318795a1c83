import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.checkpoints import chunk_path, draft, fill, flip, folder_store, save, specs_strategy
from workers.checkpoint.layout import plan_chunks
from workers.checkpoint.load import (
    history,
    iter_tensors,
    newest,
    read_manifest,
    read_tensors,
    restore,
    verify,
)
from workers.checkpoint.objects import cut_from
from workers.checkpoint.save import commit, write_chunks
from workers.checkpoint.tensors import TensorSpec
from workers.errors import CheckpointError
from workers.storage import Store

SPECS = {
    "extra/ema": TensorSpec(dtype="F64", shape=(6, 5)),
    "model/a": TensorSpec(dtype="F32", shape=(40,)),
    "model/b": TensorSpec(dtype="F32", shape=(70,), frozen=True),
    "model/c": TensorSpec(dtype="BF16", shape=(3, 3)),
    "model/d": TensorSpec(dtype="F8_E4M3", shape=(200,), frozen=True),
    "optimizer/a/step": TensorSpec(dtype="F32", shape=()),
}


@pytest.fixture
def store(tmp_path) -> Store:
    return folder_store(tmp_path)


@given(specs_strategy(), st.integers(1, 200))
@settings(max_examples=40, deadline=None)
def test_what_was_saved_is_read_back(specs, chunk_bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = folder_store(Path(folder))
        manifest = save(store, specs, 1, chunk_bytes=chunk_bytes)
        assert read_tensors(store, manifest) == fill(specs, 1)
        assert list(iter_tensors(store, manifest)) == sorted(fill(specs, 1).items())
        assert restore(store) == (manifest, fill(specs, 1), [])
        assert verify(store, manifest) == []


def test_streaming_reads_each_chunk_once(store, monkeypatch) -> None:
    manifest = save(store, SPECS, 1)
    names: list[str] = []
    get = Store.get_view
    monkeypatch.setattr(Store, "get_view", lambda self, name: names.append(name) or get(self, name))
    assert dict(iter_tensors(store, manifest)) == fill(SPECS, 1)
    assert len(names) == len(set(names)) == len(manifest.chunks)


def test_one_tensor_is_read_without_the_others(tmp_path, store) -> None:
    manifest = save(store, SPECS, 1)
    for number, chunk in enumerate(manifest.chunks):
        if all(piece.key != "model/a" for piece in chunk.pieces):
            chunk_path(tmp_path, manifest, number).unlink()
    assert read_tensors(store, manifest, ["model/a"]) == {"model/a": fill(SPECS, 1)["model/a"]}


def test_a_tensor_that_is_not_there_is_named_with_its_nearest(store) -> None:
    with pytest.raises(CheckpointError, match=r"no tensor model/aa\n.*did you mean model/a\?"):
        read_tensors(store, save(store, SPECS, 1), ["model/aa"])


def test_a_folder_that_does_not_exist_has_no_history(tmp_path) -> None:
    store = folder_store(tmp_path / "nothing")
    assert history(store) == []
    assert newest(store) == (None, [])
    with pytest.raises(CheckpointError, match="there is no checkpoint here"):
        restore(store)


def test_history_is_ascending_and_ignores_what_is_not_a_manifest(tmp_path, store) -> None:
    for step in (20, 3, 100):
        save(store, SPECS, step)
    (tmp_path / "manifests/notes.txt").write_text("mine")
    assert history(store) == [3, 20, 100]


def test_a_step_that_was_not_saved_is_answered_with_those_that_were(store) -> None:
    save(store, SPECS, 20)
    with pytest.raises(CheckpointError, match=r"no checkpoint of step 21\n.*choose one of: 20"):
        read_manifest(store, 21)


def test_a_manifest_under_another_name_is_refused(tmp_path, store) -> None:
    save(store, SPECS, 20)
    folder = tmp_path / "manifests"
    (folder / "000000000030.json").write_bytes((folder / "000000000020.json").read_bytes())
    with pytest.raises(CheckpointError, match="the manifest of step 20"):
        read_manifest(store, 30)


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_one_flipped_byte_anywhere_is_found_named_and_survived(data) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        store = folder_store(folder)
        first = save(store, SPECS, 1)
        second = save(store, SPECS, 2, parent=first)
        only_second = {r.sha256 for r in second.chunks} - {r.sha256 for r in first.chunks}
        chunks = [folder / f"chunks/{sha256}.safetensors" for sha256 in sorted(only_second)]
        path = data.draw(st.sampled_from([*chunks, folder / "manifests/000000000002.json"]))
        flip(path, data.draw(st.integers(0, 10_000)))

        manifest, tensors, notes = restore(store)
        assert (manifest, tensors) == (first, fill(SPECS, 1))
        assert [note.where for note in notes] == [path.as_uri()]
        if path.parent.name == "chunks":
            held = next(r for r in second.chunks if r.sha256 == path.stem).pieces
            assert held[0].key in str(notes[0])
            assert "manifests/000000000002.json" in str(notes[0])
            assert [str(problem) for problem in verify(store, second)] == [str(notes[0])]


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(path.read_bytes()[:-1])])
def test_a_chunk_that_is_gone_or_short_is_seen_without_reading_it(tmp_path, store, damage) -> None:
    first = save(store, SPECS, 1)
    second = save(store, SPECS, 2, parent=first)
    path = chunk_path(tmp_path, second, len(second.chunks) - 1)
    damage(path)
    manifest, passed = newest(store)
    assert manifest == first
    assert [error.where for error in passed] == [path.as_uri()]
    assert newest(store, before=2) == (first, [])


def test_if_nothing_can_be_restored_every_reason_is_given(tmp_path, store) -> None:
    first = save(store, SPECS, 1)
    save(store, SPECS, 2, parent=first)
    flip(tmp_path / "manifests/000000000002.json", 50)
    flip(chunk_path(tmp_path, first, 0), 50)
    with pytest.raises(
        CheckpointError, match=r"no checkpoint here can be restored: .*000000000002.*altered.*chunks/"
    ):
        restore(store)


def test_verify_names_every_damaged_chunk(tmp_path, store) -> None:
    manifest = save(store, SPECS, 1)
    flip(chunk_path(tmp_path, manifest, 0), 9)
    chunk_path(tmp_path, manifest, 2).unlink()
    problems = verify(store, manifest)
    assert [p.where.split("/")[-1].split(".")[0] for p in problems] == [
        manifest.chunks[0].sha256,
        manifest.chunks[2].sha256,
    ]


def test_verify_finds_intact_chunks_of_another_state(store) -> None:
    chunks = plan_chunks(SPECS, 64)
    torn = fill(SPECS, 1) | {"model/a": fill(SPECS, 2)["model/a"]}  # saved while training went on
    records = write_chunks(store, chunks, range(len(chunks)), cut_from(torn)).records
    manifest = commit(store, draft(SPECS, 1), records, None)
    assert "do not make up the state of step 1" in str(verify(store, manifest)[0])
