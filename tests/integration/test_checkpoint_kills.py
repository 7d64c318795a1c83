"""Killed at every operation of the save protocol, one after the other: nothing that was committed is lost.

The kill is an exception at one write or delete of the store, which undoes nothing, as SIGKILL would not.
"""

from pathlib import Path

import pytest

from tests.support.checkpoints import SMALL_CHUNKS, draft, fill, folder_store, objects
from workers.checkpoint.committer import Committer
from workers.checkpoint.layout import assign, plan_chunks
from workers.checkpoint.load import chunk_sizes, history, read_manifest, restore, verify
from workers.checkpoint.objects import chunk_name, cut_from
from workers.checkpoint.policy import Retention
from workers.checkpoint.save import write_chunks
from workers.checkpoint.tensors import TensorSpec
from workers.storage import Store

SPECS = {
    "model/a": TensorSpec(dtype="F32", shape=(40,)),
    "model/b": TensorSpec(dtype="F32", shape=(20,), frozen=True),
    "optimizer/a/step": TensorSpec(dtype="F32", shape=()),
}
STEPS = range(1, 5)
KEEP = Retention(last=2)


class Killed(BaseException):
    """Not an Exception, so that nothing tidies up after it."""


class Operations:
    """Counts what changes a store, and dies at one of them."""

    def __init__(self, patch: pytest.MonkeyPatch, fatal: int) -> None:
        self.count, self._fatal = 0, fatal
        for name in ("put", "create"):
            patch.setattr(Store, name, self._counted(getattr(Store, name)))
        delete = self._counted(Store.delete)
        patch.setattr(Store, "delete", lambda store, names: [delete(store, [name]) for name in names])

    def _counted(self, operation):
        def call(store, *arguments):
            self.count += 1
            if self.count >= self._fatal:
                raise Killed
            operation(store, *arguments)

        return call


def train(folder: Path, world: int) -> None:
    """Go on from what is there to the last step, saving each."""
    store = folder_store(folder)
    parent = restore(store)[0] if history(store) else None
    committer = Committer(store, parent=parent, keep=KEEP)
    chunks = plan_chunks(SPECS, SMALL_CHUNKS)
    for step in STEPS:
        if parent is None or step > parent.step:
            records = {}
            for numbers in assign(chunks, world):
                records |= write_chunks(store, chunks, numbers, cut_from(fill(SPECS, step))).records
            committer.commit(draft(SPECS, step), records)


def check(folder: Path) -> None:
    """All that is committed verifies, and the newest of it can be restored."""
    store = folder_store(folder)
    steps = history(store)
    assert [verify(store, read_manifest(store, step)) for step in steps] == [[]] * len(steps)
    if steps:
        manifest, tensors, notes = restore(store)
        assert (manifest.step, tensors, notes) == (steps[-1], fill(SPECS, steps[-1]), [])


def test_wherever_it_is_killed_the_run_ends_with_the_files_of_an_undisturbed_one(tmp_path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        operations = Operations(patch, fatal=10**6)
        train(tmp_path / "undisturbed", world=2)
    undisturbed = objects(tmp_path / "undisturbed")
    assert operations.count > 4 * len(STEPS)

    for fatal in range(1, operations.count + 1):
        folder = tmp_path / str(fatal)
        with pytest.MonkeyPatch.context() as patch:
            Operations(patch, fatal)
            with pytest.raises(Killed):
                train(folder, world=2)
        check(folder)
        train(folder, world=3)
        check(folder)
        store = folder_store(folder)
        Committer(store, parent=None, keep=KEEP, grace_seconds=0)  # what begins a run sweeps
        named = {chunk.sha256 for step in history(store) for chunk in read_manifest(store, step).chunks}
        assert chunk_sizes(store).keys() == {chunk_name(sha256) for sha256 in named}
        assert commits(undisturbed).items() <= commits(objects(folder)).items()


def commits(files: dict[str, bytes]) -> dict[str, bytes]:
    """Manifests and chunks."""
    return {name: data for name, data in files.items() if name.startswith(("manifests/", "chunks/"))}
