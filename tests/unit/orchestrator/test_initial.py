"""What a job begins with is pinned once; the job's own checkpoints remember it."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.initial import describe, pin
from orchestrator.spec.initial import InitFrom as Section
from tests.support.checkpoints import JOB, SMALL_CHUNKS, chunk_path, draft, fill, flip, folder_store, save
from workers.checkpoint.layout import plan_chunks
from workers.checkpoint.objects import cut_from
from workers.checkpoint.save import commit, write_chunks
from workers.checkpoint.tensors import TensorSpec
from workers.errors import CheckpointError
from workers.protocol import InitFrom

SPECS = {"model/a": TensorSpec(dtype="F32", shape=(40,))}


@pytest.fixture
def there(tmp_path: Path) -> Path:
    """A folder with checkpoints of steps 5 and 10."""
    folder = tmp_path / "runs" / "pretrain"
    save(folder_store(folder), SPECS, 10, parent=save(folder_store(folder), SPECS, 5))
    return folder


def section(folder: Path, **fields: object) -> Section:
    return Section.model_validate({"uri": folder.as_uri(), **fields})


def began(folder: Path, start: InitFrom | None) -> str:
    """The checkpoint folder of a job that has begun with this."""
    store, chunks = folder_store(folder), plan_chunks(SPECS, SMALL_CHUNKS)
    records = write_chunks(store, chunks, range(len(chunks)), cut_from(fill(SPECS, 3))).records
    commit(store, draft(SPECS, 3, replace(JOB, init_from=start)), records, None)
    return folder.as_uri()


def test_the_newest_checkpoint_is_taken_and_pinned_by_its_manifest(there) -> None:
    newest = save(folder_store(there), SPECS, 20)
    assert pin(section(there), None) == InitFrom(uri=there.as_uri(), step=20, digest=newest.digest)
    wish = section(there, tensors=["model/*"], rename={"model/x": "model/a"})
    assert pin(wish, None).tensors == ("model/*",)
    assert pin(wish, None).rename == {"model/x": "model/a"}


def test_or_the_one_that_is_named(there) -> None:
    pinned = pin(section(there, step=5), None)
    assert pinned.step == 5
    assert describe(pinned).endswith(f"manifest {pinned.digest}; not of step 10, which is newer")
    with pytest.raises(CheckpointError, match=r"there is no checkpoint of step 7\n  → choose one of: 5, 10"):
        pin(section(there, step=7), None)


def test_one_that_is_damaged_is_passed_over_unless_it_is_named(there) -> None:
    manifest = save(folder_store(there), SPECS, 20)
    flip(chunk_path(there, manifest, 0), 100)
    assert pin(section(there), None).step == 10
    chunk_path(there, manifest, 0).unlink()
    with pytest.raises(CheckpointError, match="the chunk is missing"):
        pin(section(there, step=20), None)


def test_a_folder_of_several_jobs_is_no_job_and_says_which_there_are(there) -> None:
    with pytest.raises(CheckpointError, match="no job's checkpoint folder") as caught:
        pin(section(there.parent), None)
    assert there.as_uri() in str(caught.value)
    with pytest.raises(CheckpointError, match="there are no checkpoints here"):
        pin(section(there / "nothing"), None)


def test_a_file_is_pinned_by_its_bytes(tmp_path) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(b"some")
    pinned = pin(section(path), None)
    assert (pinned.step, len(pinned.digest)) == (None, 64)
    path.write_bytes(b"others")
    assert pin(section(path), None).digest != pinned.digest
    assert describe(pinned) == f"begins with tensors of {path.as_uri()}, SHA-256 {pinned.digest}"


def test_a_job_that_has_begun_keeps_what_it_began_with_whatever_came_of_that(there, tmp_path) -> None:
    own = began(tmp_path / "own", first := pin(section(there), None))
    save(folder_store(there), SPECS, 20)
    assert pin(section(there), own) == first
    assert pin(section(there), None).step == 20  # --fresh
    shutil.rmtree(there)
    assert pin(section(there), own) == first
    assert pin(section(there, step=10), own) == first


def test_a_job_that_asks_for_something_else_now_gets_that_and_is_refused_later(there, tmp_path) -> None:
    own = began(tmp_path / "own", pin(section(there), None))
    assert pin(section(there, step=5), own).step == 5
    assert pin(section(there, tensors=["model/a"]), own).tensors == ("model/a",)
    shutil.copytree(there, tmp_path / "other")
    assert pin(section(tmp_path / "other"), own).uri == (tmp_path / "other").as_uri()


def test_a_job_that_began_with_nothing_has_nothing_to_keep(there, tmp_path) -> None:
    assert pin(section(there), began(tmp_path / "own", None)).step == 10
    assert pin(section(there), (tmp_path / "no checkpoint yet").as_uri()).step == 10


def test_an_unreadable_manifest_does_not_make_it_forget(there, tmp_path) -> None:
    own = began(tmp_path / "own", first := pin(section(there), None))
    folder_store(tmp_path / "own").put("manifests/000000000009.json", b"{}")
    save(folder_store(there), SPECS, 20)
    assert pin(section(there), own) == first
