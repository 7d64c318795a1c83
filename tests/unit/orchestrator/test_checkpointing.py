"""A job's manifests have one writer, and the newest checkpoint that is intact is found again."""

from __future__ import annotations

import math
import os
import time

import pytest

from orchestrator.checkpointing import JobCheckpoints, newest_intact
from orchestrator.gang.commands import Commit
from tests.support.checkpoints import SMALL_CHUNKS, chunk_path, draft, fill, flip, folder_store, save
from tests.support.events import FakeWorker
from workers.checkpoint.layout import plan_chunks
from workers.checkpoint.load import chunk_sizes, history, read_manifest
from workers.checkpoint.objects import cut_from, manifest_name
from workers.checkpoint.policy import Best, Retention
from workers.checkpoint.save import write_chunks
from workers.checkpoint.sidecar import read_sidecar
from workers.checkpoint.tensors import TensorSpec
from workers.errors import CheckpointError

SPECS = {"model/a": TensorSpec(dtype="F32", shape=(40,))}


def command(folder, step: int) -> Commit:
    """All chunks of a step are durable."""
    chunks = plan_chunks(SPECS, SMALL_CHUNKS)
    written = write_chunks(folder_store(folder), chunks, range(len(chunks)), cut_from(fill(SPECS, step)))
    return Commit(step=step, draft=draft(SPECS, step), chunks=written.records)


def opened(folder, resume_step: int | None = None, *, keep: int = 3, workers_at_work: bool = False):
    uri = folder.absolute().as_uri()
    return JobCheckpoints(
        uri,
        resume_step=resume_step,
        keep=Retention(last=keep),
        sidecar={"workers": 2},
        workers_at_work=workers_at_work,
    )


def test_a_job_that_saves_nothing_has_nothing_to_recall():
    checkpoints = JobCheckpoints(None, resume_step=None, keep=Retention(), sidecar={})
    checkpoints.commit(Commit(step=5, draft={}, chunks={}))
    assert checkpoints.recall() is None


def test_each_manifest_names_the_one_before_from_the_one_that_the_job_went_on_from(tmp_path):
    first = save(folder_store(tmp_path), SPECS, 5)
    checkpoints = opened(tmp_path, resume_step=5, keep=2)
    checkpoints.commit(command(tmp_path, 10))
    checkpoints.commit(command(tmp_path, 15))
    store = folder_store(tmp_path)
    assert history(store) == [10, 15], "old ones go"
    tenth = read_manifest(store, 10)
    assert tenth.parent is not None
    assert tenth.parent.sha256 == first.digest
    fifteenth = read_manifest(store, 15)
    assert fifteenth.parent is not None
    assert fifteenth.parent.sha256 == tenth.digest


def test_before_the_first_checkpoint_there_is_none_to_recall(tmp_path):
    assert opened(tmp_path).recall() is None


def test_the_newest_checkpoint_that_verifies_is_recalled_and_the_next_one_follows_it(tmp_path):
    checkpoints = opened(tmp_path)
    for step in (5, 10):
        checkpoints.commit(command(tmp_path, step))
    store = folder_store(tmp_path)
    flip(chunk_path(tmp_path, read_manifest(store, 10), 0), 100)
    assert checkpoints.recall() == 5
    checkpoints.commit(command(tmp_path, 15))
    again = read_manifest(store, 15)
    assert again.parent is not None
    assert again.parent.sha256 == read_manifest(store, 5).digest


def test_when_none_verifies_that_is_said_with_what_is_wrong(tmp_path):
    checkpoints = opened(tmp_path)
    checkpoints.commit(command(tmp_path, 5))
    flip(chunk_path(tmp_path, read_manifest(folder_store(tmp_path), 5), 0), 100)
    with pytest.raises(CheckpointError, match=r"no checkpoint can be restored:\n  .*altered"):
        checkpoints.recall()


def test_what_newer_checkpoints_suffer_from_is_told(tmp_path):
    store = folder_store(tmp_path)
    good = save(store, SPECS, 5)
    bad = save(store, SPECS, 10, parent=good)
    flip(chunk_path(tmp_path, bad, 0), 100)
    (tmp_path / manifest_name(15)).write_text("{")
    manifest, notes = newest_intact(store)
    assert manifest == good
    unreadable, altered = notes
    assert "15" in unreadable
    assert "altered" in altered


def aged(folder) -> None:
    """Let all chunks be two days older."""
    for path in (folder / "chunks").iterdir():
        then = path.stat().st_mtime - 2 * 86400
        os.utime(path, (then, then))


@pytest.mark.parametrize("workers_at_work", [True, False])
def test_old_chunks_without_a_manifest_are_cleared_away_only_while_nobody_saves(tmp_path, workers_at_work):
    first = save(folder_store(tmp_path), SPECS, 5)
    unnamed = command(tmp_path, 10)
    aged(tmp_path)
    checkpoints = opened(tmp_path, resume_step=5, workers_at_work=workers_at_work)
    left = len(chunk_sizes(folder_store(tmp_path))) - len(first.chunks)
    assert left == (len(unnamed.chunks) if workers_at_work else 0)
    if workers_at_work:
        checkpoints.commit(unnamed)
        found = read_manifest(folder_store(tmp_path), 10)
        assert found.parent is not None
        assert found.parent.sha256 == first.digest, "the newest there is, whatever this run went on from"


def test_looking_for_a_checkpoint_does_not_clear_away_what_is_being_written(tmp_path):
    checkpoints = opened(tmp_path)
    checkpoints.commit(command(tmp_path, 5))
    unnamed = command(tmp_path, 10)
    assert checkpoints.recall() == 5
    checkpoints.commit(unnamed)
    assert history(folder_store(tmp_path)) == [5, 10]
    assert checkpoints.recall() == 10


def evaluated(step: int, loss: float):
    return FakeWorker("a", time.time()).evaluated(step, {"loss": loss})


def test_the_best_checkpoint_stays_also_for_a_supervisor_that_begins_anew(tmp_path):
    keep = Retention(last=1, best=Best(metric="loss", mode="min"))
    losses = {5: 0.5, 10: 0.2, 15: 0.3, 20: 0.4, 25: math.nan}
    resume_step = None
    for step, loss in losses.items():
        checkpoints = JobCheckpoints(
            tmp_path.absolute().as_uri(), resume_step=resume_step, keep=keep, sidecar={"workers": 2}
        )
        checkpoints.happened(evaluated(step, loss))
        checkpoints.happened(evaluated(step + 1, 0.0))  # while the save is on its way
        checkpoints.commit(command(tmp_path, step))
        resume_step = step
    assert history(folder_store(tmp_path)) == [10, 25]
    sidecar = read_sidecar(folder_store(tmp_path), 10)
    assert (sidecar["metrics"], sidecar["workers"]) == ({"loss": 0.2}, 2)


def test_a_checkpoint_without_an_evaluation_of_its_own_is_never_the_best(tmp_path):
    checkpoints = JobCheckpoints(
        tmp_path.absolute().as_uri(),
        resume_step=None,
        keep=Retention(last=1, best=Best(metric="loss", mode="min")),
        sidecar={},
    )
    for step in (5, 10, 15):
        if step == 5:
            checkpoints.happened(evaluated(step, 0.5))
        checkpoints.commit(command(tmp_path, step))
    assert history(folder_store(tmp_path)) == [5, 15]
