from tests.support.checkpoints import SMALL_CHUNKS, draft, fill, folder_store, save
from workers.checkpoint.committer import Committer
from workers.checkpoint.layout import plan_chunks
from workers.checkpoint.load import chunk_sizes, history, read_manifest, restore, verify
from workers.checkpoint.objects import cut_from
from workers.checkpoint.policy import Retention
from workers.checkpoint.save import write_chunks
from workers.checkpoint.tensors import TensorSpec

SPECS = {"model/a": TensorSpec(dtype="F32", shape=(40,))}


def records(store, step: int):
    chunks = plan_chunks(SPECS, SMALL_CHUNKS)
    return write_chunks(store, chunks, range(len(chunks)), cut_from(fill(SPECS, step))).records


def test_each_checkpoint_names_the_one_before_and_old_ones_go(tmp_path) -> None:
    store = folder_store(tmp_path)
    committer = Committer(store, parent=save(store, SPECS, 1), keep=Retention(last=2))
    made = [committer.commit(draft(SPECS, step), records(store, step)) for step in (2, 3)]
    assert history(store) == [2, 3]
    assert made[1].parent.sha256 == made[0].digest
    assert committer.newest == read_manifest(store, 3)


def test_a_new_run_sweeps_what_a_killed_one_left_once_it_is_old_enough(tmp_path) -> None:
    store = folder_store(tmp_path)
    manifest = save(store, SPECS, 1)
    left = len(records(store, 2))  # and killed before the commit
    Committer(store, parent=manifest, keep=Retention(last=3))
    assert len(chunk_sizes(store)) == len(manifest.chunks) + left
    Committer(store, parent=manifest, keep=Retention(last=3), grace_seconds=0)
    assert len(chunk_sizes(store)) == len(manifest.chunks)
    assert restore(store) == (manifest, fill(SPECS, 1), [])


def test_where_somebody_may_be_saving_nothing_is_swept(tmp_path) -> None:
    store = folder_store(tmp_path)
    manifest = save(store, SPECS, 1)
    ahead = records(store, 2)
    unfinished = tmp_path / "chunks" / "x.safetensors#77"
    unfinished.write_bytes(b"half")
    committer = Committer(store, parent=manifest, keep=Retention(last=3), tidy=False, grace_seconds=0)
    assert unfinished.exists()
    assert verify(store, committer.commit(draft(SPECS, 2), ahead)) == []


def test_workers_may_be_a_save_ahead_of_the_commit(tmp_path) -> None:
    store = folder_store(tmp_path)
    committer = Committer(store, parent=None, keep=Retention(last=1))
    first, second, third = (records(store, step) for step in (1, 2, 3))
    for step, written in ((1, first), (2, second), (3, third)):
        manifest = committer.commit(draft(SPECS, step), written)
    assert history(store) == [3]
    assert verify(store, manifest) == []
