"""From a job file to what workers are told, and where a run starts from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from orchestrator.prepare import find_origin, resolve
from orchestrator.spec import load_job
from tests.support.checkpoints import JOB, chunk_path, flip, folder_store, objects, save
from tests.support.datasets import number_set, raw_files, token_set
from tests.support.events import train_job
from workers.checkpoint.compatibility import beginning
from workers.checkpoint.draft import describe_source
from workers.checkpoint.load import history
from workers.checkpoint.tensors import TensorSpec
from workers.data.dataset import Dataset
from workers.data.index import index
from workers.errors import CheckpointError, DataError
from workers.protocol import DataMixture, DataSource, Packing, TrainJob

SPECS = {"model/a": TensorSpec(dtype="F32", shape=(40,))}


def job_file(folder: Path, **changes: Any) -> Path:
    job = {
        "name": "toy",
        "recipe": "recipe:Toy",
        "params": {"width": 8},
        "seed": 3,
        "batch": {"size": 12, "virtual_ranks": 4},
        "stop": {"steps": 50},
        "checkpoint": {"uri": (folder / "runs").as_uri(), "every": 5},
        **changes,
    }
    folder.mkdir(exist_ok=True)
    (folder / "recipe.py").write_text("class Toy: ...")
    path = folder / "job.yaml"
    path.write_text(yaml.safe_dump(job))
    return path


def resolved(path: Path) -> TrainJob:
    return resolve(load_job(path, []), path)


def job_at(folder: Path, **changes: Any) -> TrainJob:
    """The job whose checkpoints `save` writes."""
    return replace(JOB, checkpoint_uri=folder.as_uri(), **changes)


def test_a_job_pins_its_data_its_recipe_and_its_own_checkpoint_folder(tmp_path):
    number_set(tmp_path / "train", 100)
    path = job_file(tmp_path / "job", data={"train": {"uri": (tmp_path / "train").as_uri()}})
    job = resolved(path)
    dataset = Dataset.open((tmp_path / "train").as_uri())
    assert job.train is not None
    assert (job.train.rows, job.train.manifest_digest) == (100, dataset.manifest.digest)
    assert job.checkpoint_uri == (tmp_path / "job" / "runs" / "toy").as_uri()
    assert (job.micro_batch, job.virtual_ranks, job.steps, job.seed) == (3, 4, 50, 3)
    assert list(job.sources) == ["recipe.py"]
    assert resolved(path) == job
    (tmp_path / "job" / "recipe.py").write_text("class Toy: pass")
    assert resolved(path) != job


@pytest.mark.parametrize(("rows", "epochs", "steps"), [(24, 1, 2), (25, 1, 3), (25, 4, 12), (1, 2, 2)])
def test_epochs_are_steps_in_which_each_sample_is_seen_once(tmp_path, rows, epochs, steps):
    number_set(tmp_path / "train", rows)
    data = {"train": {"uri": (tmp_path / "train").as_uri()}}
    assert resolved(job_file(tmp_path / "job", data=data, stop={"epochs": epochs})).steps == steps


def test_a_job_reads_the_newest_version_of_its_data_unless_it_names_another(tmp_path):
    uri = raw_files(tmp_path / "train", [b"x", b"y"])
    first = index(uri).digest
    (tmp_path / "train" / "more").write_bytes(b"z")
    second = index(uri).digest
    train: dict[str, Any] = {"uri": uri}
    jobs = [
        resolved(job_file(tmp_path / "job", data={"train": train | version, "eval": train | version}))
        for version in ({}, {"version": first}, {"version": beginning(first, 10)})
    ]
    assert [(job.train.rows, job.train.manifest_digest) for job in jobs] == [
        (3, second),
        (2, first),
        (2, first),
    ]
    assert all(job.evaluation == job.train for job in jobs)


def mixed(folder: Path, **train: Any) -> dict[str, Any]:
    """Sets of 100 and 30 samples, drawn 3 : 1."""
    for rows in (100, 30):
        if not (folder / f"{rows}").exists():
            number_set(folder / f"{rows}", rows)
    mix = [{"uri": str(folder / "100"), "weight": 0.75}, {"uri": str(folder / "30"), "weight": 0.25}]
    return {"train": {"mix": mix, **train}}


def test_a_mixture_pins_each_of_its_sources(tmp_path):
    mix = mixed(tmp_path)
    mix["train"]["mix"][1] |= {"shuffle": "windowed", "window": 2}
    train = resolved(job_file(tmp_path / "job", data=mix)).train
    assert isinstance(train, DataMixture)
    digests = tuple(Dataset.open((tmp_path / name).as_uri()).manifest.digest for name in ("100", "30"))
    assert tuple(source.manifest_digest for source in train.sources) == digests
    assert [source.window_blocks for source in train.sources] == [None, 2]
    assert (train.weights, train.epoch_end) == ((3, 1), "last")


@pytest.mark.parametrize(("epoch", "epochs", "steps"), [("first", 1, 10), ("last", 1, 12), ("last", 2, 23)])
def test_epochs_of_a_mixture_end_with_its_first_or_last_source(tmp_path, epoch, epochs, steps):
    """Batches of 12: 30 draws of the small set take about 120 samples, 100 of the large one 133."""
    data = mixed(tmp_path, epoch=epoch)
    path = job_file(tmp_path / "job", data=data, stop={"epochs": epochs})
    assert resolved(path).steps == steps


def test_packed_tokens_are_counted_in_samples_of_their_length(tmp_path):
    for name, lengths in (("a", [50] * 20), ("b", [30] * 20)):
        token_set(tmp_path / name, lengths)
    data = {"train": {"uri": str(tmp_path / "a")}, "eval": {"uri": str(tmp_path / "b")}, "seq_len": 16}
    job = resolved(job_file(tmp_path / "job", data=data, stop={"epochs": 2}))
    packing = Packing(column="tokens", length=16)
    assert isinstance(job.train, DataSource)
    assert job.evaluation is not None
    assert (job.train.rows, job.train.packing) == (62, packing)
    assert (job.evaluation.rows, job.evaluation.packing) == (37, packing)
    assert job.steps == 2 * 6  # 62 samples, 12 a step
    mix = {"train": {"mix": [{"uri": str(tmp_path / name)} for name in "ab"]}, "seq_len": 16}
    train = resolved(job_file(tmp_path / "job", data=mix)).train
    assert isinstance(train, DataMixture)
    assert [source.rows for source in train.sources] == [62, 37]
    with pytest.raises(DataError, match="holds 600 tokens, fewer than a sample of 900"):
        resolved(job_file(tmp_path / "job", data={**data, "seq_len": 900}))
    with pytest.raises(DataError, match="there is no column ids"):
        resolved(job_file(tmp_path / "job", data={**data, "tokens": "ids"}))


def test_another_length_is_another_job(tmp_path):
    token_set(tmp_path / "a", [50] * 20)
    data = {"train": {"uri": str(tmp_path / "a")}, "seq_len": 16}
    kinds = [resolved(job_file(tmp_path / "job", data={**data, "seq_len": n})).train for n in (16, 17)]
    assert describe_source(kinds[0]) != describe_source(kinds[1])


def test_sources_with_other_columns_are_refused_before_anything_is_started(tmp_path):
    data = mixed(tmp_path)
    index(raw_files(tmp_path / "raw", [b"x"]))
    data["train"]["mix"].append({"uri": str(tmp_path / "raw")})
    with pytest.raises(DataError, match="no column number"):
        resolved(job_file(tmp_path / "job", data=data))


def test_a_recipe_may_make_its_own_data(tmp_path):
    job = resolved(job_file(tmp_path / "job"))
    assert (job.train, job.evaluation) == (None, None)


def test_missing_data_is_found_before_anything_starts(tmp_path):
    data = {"train": {"uri": (tmp_path / "nothing").as_uri()}}
    with pytest.raises(DataError):
        resolved(job_file(tmp_path / "job", data=data))


def test_a_first_run_starts_from_nothing(tmp_path):
    assert find_origin(job_at(tmp_path), resume=False, fresh=False).manifest is None
    origin = find_origin(job_at(tmp_path), resume=True, fresh=False)
    assert origin.manifest is None
    assert "no checkpoint yet" in origin.notes[0]


def test_an_earlier_run_is_not_overwritten_by_accident(tmp_path):
    save(folder_store(tmp_path), SPECS, 5)
    before = objects(tmp_path)
    with pytest.raises(CheckpointError, match="at step 5"):
        find_origin(job_at(tmp_path), resume=False, fresh=False)
    assert objects(tmp_path) == before


def test_fresh_wants_the_earlier_run_removed_and_leaves_it_until_this_one_can_begin(tmp_path):
    save(folder_store(tmp_path), SPECS, 5)
    before = objects(tmp_path)
    origin = find_origin(job_at(tmp_path), resume=False, fresh=True)
    assert (origin.manifest, origin.erase) == (None, True)
    assert objects(tmp_path) == before


@pytest.mark.parametrize("resume", [True, False])
def test_without_fresh_nothing_is_ever_to_be_removed(tmp_path, resume):
    assert not find_origin(job_at(tmp_path), resume=resume, fresh=False).erase
    if resume:
        save(folder_store(tmp_path), SPECS, 5)
        assert not find_origin(job_at(tmp_path), resume=True, fresh=False).erase


def test_resume_takes_the_newest_checkpoint(tmp_path):
    store = folder_store(tmp_path)
    newest = save(store, SPECS, 10, parent=save(store, SPECS, 5))
    origin = find_origin(job_at(tmp_path), resume=True, fresh=False)
    assert (origin.manifest, origin.notes) == (newest, ())


def test_resume_passes_over_a_damaged_checkpoint_and_says_so(tmp_path):
    store = folder_store(tmp_path)
    good = save(store, SPECS, 5)
    bad = save(store, SPECS, 10, parent=good)
    flip(chunk_path(tmp_path, bad, 0), 100)
    origin = find_origin(job_at(tmp_path), resume=True, fresh=False)
    assert origin.manifest == good
    assert any("altered" in note for note in origin.notes)
    assert history(store) == [5, 10]


def test_resume_does_not_start_over_when_all_checkpoints_are_damaged(tmp_path):
    flip(chunk_path(tmp_path, save(folder_store(tmp_path), SPECS, 5), 0), 100)
    with pytest.raises(CheckpointError, match="no checkpoint can be restored"):
        find_origin(job_at(tmp_path), resume=True, fresh=False)


def test_a_job_that_stops_before_its_checkpoint_is_refused(tmp_path):
    save(folder_store(tmp_path), SPECS, 10)
    with pytest.raises(CheckpointError, match="of step 10, and the job stops at 9"):
        find_origin(job_at(tmp_path, steps=9), resume=True, fresh=False)
    assert find_origin(job_at(tmp_path, steps=10), resume=True, fresh=False).manifest is not None


def test_a_job_without_checkpoints_cannot_resume():
    with pytest.raises(CheckpointError, match="saves no checkpoints"):
        find_origin(train_job(), resume=True, fresh=False)
    assert find_origin(replace(train_job()), resume=False, fresh=False).manifest is None


def test_another_jobs_checkpoint_is_refused_before_anything_is_started(tmp_path):
    save(folder_store(tmp_path), SPECS, 5)
    with pytest.raises(CheckpointError, match=r"params\.width: 8 → 9"):
        find_origin(job_at(tmp_path, params={**JOB.params, "width": 9}), resume=True, fresh=False)
    with pytest.raises(CheckpointError, match=r"helper\.py is new"):
        find_origin(job_at(tmp_path, sources={**JOB.sources, "helper.py": b""}), resume=True, fresh=False)
