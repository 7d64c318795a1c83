"""A supervisor that is not quite dead and the new one commit the same steps at once, in two processes."""

from __future__ import annotations

from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from tests.support.checkpoints import SMALL_CHUNKS, draft, fill
from workers.checkpoint.committer import Committer
from workers.checkpoint.layout import plan_chunks
from workers.checkpoint.load import history, read_manifest, restore, verify
from workers.checkpoint.manifest import Manifest
from workers.checkpoint.objects import CHUNKS, cut_from, sha256_of
from workers.checkpoint.policy import Retention
from workers.checkpoint.retention import prune
from workers.checkpoint.save import write_chunks
from workers.checkpoint.tensors import TensorSpec
from workers.errors import LockstepError
from workers.forks import start
from workers.storage import Store

SPECS = {
    "model/a": TensorSpec(dtype="F32", shape=(40,)),
    "model/b": TensorSpec(dtype="F32", shape=(20,), frozen=True),
    "optimizer/a/step": TensorSpec(dtype="F32", shape=()),
}
STEPS, KEEP = 100, Retention(last=3)


class Watched(Store):
    """Knows who was first."""

    first = 0

    def create(self, name: str, data: bytes | memoryview) -> None:
        super().create(name, data)
        self.first += 1


def supervise(uri: str, connection: Connection) -> None:
    """In a process: commit what it is told to, and say what is committed then."""
    store = Watched(uri)
    committer = Committer(store, parent=None, keep=KEEP)
    while told := connection.recv():
        step, records = told
        before = store.first
        manifest = committer.commit(draft(SPECS, step), records)
        connection.send((manifest.to_bytes(), store.first - before))


@pytest.fixture(params=["local", pytest.param("s3", marks=pytest.mark.s3)])
def uri(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "s3":
        return f"{request.getfixturevalue('bucket')}/jobs/two"
    return (tmp_path / "two").as_uri()


def written(store: Store, step: int) -> dict[int, Any]:
    chunks = plan_chunks(SPECS, SMALL_CHUNKS)
    return write_chunks(store, chunks, range(len(chunks)), cut_from(fill(SPECS, step))).records


@pytest.mark.slow
def test_of_two_supervisors_exactly_one_is_first_and_both_agree_a_hundred_times(uri):
    store = Store(uri)
    savers = [start(supervise, uri) for _ in range(2)]
    firsts = [0, 0]
    for step in range(1, STEPS + 1):
        records = written(store, step)
        for _, connection in savers:
            connection.send((step, records))
        (one, was_first), (other, too) = [connection.recv() for _, connection in savers]
        assert was_first + too == 1
        assert one == other == read_manifest(store, step).to_bytes()
        firsts[0] += was_first
        firsts[1] += too
        assert Manifest.parse(one).parent is not None or step == 1
    for process, connection in savers:
        connection.send(None)
        process.join()
    assert min(firsts) > 0, "one was always first: they did not meet"
    assert history(store) == [*range(STEPS - 2, STEPS + 1)]
    assert [verify(store, read_manifest(store, step)) for step in history(store)] == [[]] * 3
    assert restore(store)[1] == fill(SPECS, STEPS)
    prune(store, KEEP, grace_seconds=0)
    named = {chunk.sha256 for step in history(store) for chunk in read_manifest(store, step).chunks}
    assert {sha256_of(info.name) for info in store.list(CHUNKS)} == named


def test_a_supervisor_whose_step_was_committed_with_another_state_is_told_so(uri):
    store = Store(uri)
    Committer(store, parent=None, keep=KEEP).commit(draft(SPECS, 1), written(store, 1))
    late = Committer(store, parent=None, keep=KEEP)
    with pytest.raises(LockstepError, match="step 1 is committed already, with other"):
        late.commit({**draft(SPECS, 1), "state_digest": "0" * 64}, written(store, 2))
    assert restore(store)[1] == fill(SPECS, 1)
