import json
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.checkpoints import SMALL_CHUNKS, draft, fill, flip, folder_store, save
from workers.checkpoint.committer import Committer
from workers.checkpoint.layout import plan_chunks
from workers.checkpoint.lineage import Lineage, Link, State, ancestors, lineage
from workers.checkpoint.load import read_manifest
from workers.checkpoint.manifest import Manifest
from workers.checkpoint.objects import cut_from, manifest_name, sidecar_name
from workers.checkpoint.policy import Retention
from workers.checkpoint.save import write_chunks
from workers.checkpoint.tensors import TensorSpec
from workers.storage import Store

SPECS = {"model/a": TensorSpec(dtype="F32", shape=(4,))}


def train(store: Store, steps: list[int], keep: Retention, runs: int = 1) -> list[Manifest]:
    """Save these steps, by so many runs that go on from one another."""
    made: list[Manifest] = []
    chunks = plan_chunks(SPECS, SMALL_CHUNKS)
    for run in range(runs):
        committer = Committer(store, parent=made[-1] if made else None, keep=keep)
        for step in steps[run:] if run == runs - 1 else steps[run : run + 1]:
            records = write_chunks(store, chunks, range(len(chunks)), cut_from(fill(SPECS, step))).records
            made.append(committer.commit(draft(SPECS, step), records))
    return made


@given(st.sets(st.integers(1, 40), min_size=1, max_size=8), st.integers(1, 3), st.integers(1, 3), st.data())
@settings(max_examples=30, deadline=None)
def test_the_chain_leads_to_step_0_whatever_retention_has_removed(steps, last, runs, data) -> None:
    ordered = sorted(steps)
    runs = min(runs, len(ordered))
    every = data.draw(st.none() | st.integers(2, 5))
    with tempfile.TemporaryDirectory() as name:
        store = folder_store(Path(name))
        made = train(store, ordered, Retention(last=last, every=every), runs)
        found = lineage(store, made[-1])
        there = [m.step in ordered[-last:] or bool(every and m.step % every == 0) for m in made[:-1]]
        assert found == Lineage(
            links=tuple(
                Link(step=m.step, sha256=m.digest, state=State.INTACT if is_there else State.GONE)
                for m, is_there in zip(reversed(made[:-1]), reversed(there), strict=True)
            ),
            whole=True,
        )


def test_without_sidecars_the_chain_ends_where_manifests_end(tmp_path) -> None:
    store = folder_store(tmp_path)
    made = train(store, [1, 2, 3, 4], Retention(last=2))
    for step in (3, 4):
        store.delete([sidecar_name(step)])
    found = lineage(store, made[-1])
    assert [(link.step, link.state) for link in found.links] == [(3, State.INTACT), (2, State.GONE)]
    assert not found.whole
    committer = Committer(store, parent=made[-1], keep=Retention(last=1))
    chunks = plan_chunks(SPECS, SMALL_CHUNKS)
    records = write_chunks(store, chunks, range(len(chunks)), cut_from(fill(SPECS, 5))).records
    names = ancestors(store, committer.commit(draft(SPECS, 5), records))
    assert ([name.step for name in names.names], names.whole) == ([4, 3, 2], False), (
        "what is not known is not said"
    )


def test_a_parent_that_is_another_or_altered_is_told_from_one_that_is_gone(tmp_path) -> None:
    store = folder_store(tmp_path)
    made = train(store, [1, 2, 3], Retention(last=9))
    flip(tmp_path / manifest_name(2), 60)
    store.put(
        manifest_name(1),
        save(folder_store(tmp_path / "b"), {**SPECS, "model/b": SPECS["model/a"]}, 1).to_bytes(),
    )
    found = lineage(store, made[-1])
    assert [(link.step, link.state) for link in found.links] == [(2, State.ALTERED), (1, State.ANOTHER)]
    assert found.whole


def test_a_sidecar_that_does_not_fit_its_manifest_is_not_believed(tmp_path) -> None:
    store = folder_store(tmp_path)
    made = train(store, [1, 2, 3], Retention(last=1))
    for wrong in (
        b"[]",
        b"{",
        json.dumps({"ancestors": {"names": [[2, "ab"], [1, "cd"]], "whole": True}}).encode(),
    ):
        store.put(sidecar_name(3), wrong)
        found = lineage(store, made[-1])
        assert [(link.step, link.state) for link in found.links] == [(2, State.GONE)]
        assert not found.whole


def test_the_first_checkpoint_of_a_job_has_no_ancestors(tmp_path) -> None:
    store = folder_store(tmp_path)
    train(store, [1], Retention())
    assert lineage(store, read_manifest(store, 1)) == Lineage(links=(), whole=True)
