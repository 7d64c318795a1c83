"""A disk that is full while saving: a small tmpfs, really full."""

import subprocess
from contextlib import suppress

import pytest

from tests.support.checkpoints import draft, fill, folder_store, save
from workers.checkpoint.layout import plan_chunks
from workers.checkpoint.load import history, restore
from workers.checkpoint.objects import cut_from
from workers.checkpoint.save import commit, write_chunks
from workers.checkpoint.tensors import TensorSpec
from workers.errors import AccessError

SPECS = {"model/w": TensorSpec(dtype="F32", shape=(100_000,))}
DISK_BYTES = 1 << 20
CHUNK_BYTES = 64 << 10


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 1 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(folder)]
    done = subprocess.run(mount, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"cannot mount a small file system here: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def fill_up(path) -> None:
    """Make a file as large as the file system allows."""
    with suppress(OSError), path.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))


def test_a_full_disk_is_an_error_of_access_and_the_last_checkpoint_stays(small_disk) -> None:
    store = folder_store(small_disk)
    first = save(store, SPECS, 1, chunk_bytes=CHUNK_BYTES)
    save(store, SPECS, 2, first, chunk_bytes=CHUNK_BYTES)
    chunks = plan_chunks(SPECS, CHUNK_BYTES)
    with pytest.raises(AccessError, match=r"No space left on device\n.*free some space"):
        write_chunks(store, chunks, range(len(chunks)), cut_from(fill(SPECS, 3)))
    manifest, tensors, notes = restore(store)
    assert (manifest.step, tensors, notes) == (2, fill(SPECS, 2), [])
    assert not [path for path in small_disk.rglob("*") if "#" in path.name]  # nothing half written stays


def test_a_disk_that_is_full_at_the_commit_leaves_no_half_manifest(small_disk) -> None:
    store = folder_store(small_disk)
    first = save(store, SPECS, 1, chunk_bytes=CHUNK_BYTES)
    chunks = plan_chunks(SPECS, CHUNK_BYTES)
    records = write_chunks(store, chunks, range(len(chunks)), cut_from(fill(SPECS, 2))).records
    fill_up(small_disk / "filler")
    with pytest.raises(AccessError, match="No space left on device"):
        commit(store, draft(SPECS, 2), records, first)
    assert history(store) == [1]
    (small_disk / "filler").unlink()
    assert commit(store, draft(SPECS, 2), records, first).step == 2  # asking again is safe
    assert restore(store)[0].step == 2
