"""What a checkpoint says of a step's samples is what workers read in it."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from orchestrator.cli.checkpoint import app
from tests.support.checkpoints import JOB, SMALL_CHUNKS, draft, fill, folder_store
from tests.support.datasets import raw_files, token_set
from workers.checkpoint.committer import Committer
from workers.checkpoint.layout import plan_chunks
from workers.checkpoint.objects import cut_from
from workers.checkpoint.policy import Retention
from workers.checkpoint.save import write_chunks
from workers.checkpoint.tensors import TensorSpec
from workers.data.dataset import Dataset
from workers.data.decoder import Decoder
from workers.data.index import index
from workers.data.packing import count_samples
from workers.errors import CheckpointError, DataError, InputError
from workers.protocol import DataMixture, DataSource, Packing, TrainJob
from workers.recipe import Recipe
from workers.storage import local_path
from workers.training.training_data import open_training_data

SPECS = {"model/a": TensorSpec(dtype="F32", shape=(4,))}


def source(uri: str, **changes: object) -> DataSource:
    dataset = Dataset.open(uri)
    pinned = DataSource(uri=uri, manifest_digest=dataset.manifest.digest, rows=dataset.rows)
    return replace(pinned, **changes)


def raw_set(folder: Path, count: int, first: int = 0) -> str:
    """Files that hold the numbers from `first` on."""
    uri = raw_files(folder, [b"%d" % n for n in range(first, first + count)])
    index(uri)
    return uri


def trained(
    folder: Path, train: DataSource | DataMixture | None, steps=(4, 9), note: bool = True
) -> TrainJob:
    """A job with checkpoints of these steps."""
    job = replace(JOB, train=train, virtual_ranks=3, batch_size=6)
    sources = train.sources if isinstance(train, DataMixture) else [train] if train else []
    sidecar = {"train": [part.uri for part in sources]} if note else {}
    store = folder_store(folder)
    committer = Committer(store, parent=None, keep=Retention(), sidecar=sidecar)
    chunks = plan_chunks(SPECS, SMALL_CHUNKS)
    for step in steps:
        records = write_chunks(store, chunks, range(len(chunks)), cut_from(fill(SPECS, step))).records
        committer.commit(draft(SPECS, step, job), records)
    return job


def said(folder: Path, step: int | None = None, *more: object) -> list[dict]:
    arguments = ["show", str(folder), "--samples", "--json", *(["--step", str(step)] if step else [])]
    result = CliRunner().invoke(app, [*arguments, *map(str, more)])
    if result.exception is not None:
        raise result.exception
    answer = json.loads(result.stdout)
    assert answer["step"] == (step or 9)
    return answer["samples"]


def test_the_steps_of_an_epoch_hold_every_sample_once_in_order(tmp_path) -> None:
    trained(tmp_path / "job", source(raw_set(tmp_path / "data", 20)))
    steps = [said(tmp_path / "job", step) for step in range(1, 9)]  # 4 of 6, 6, 6 and 2 samples, twice
    assert [len(lines) for lines in steps] == [6, 6, 6, 2] * 2
    for epoch in (0, 1):
        lines = [line for lines in steps[4 * epoch : 4 * epoch + 4] for line in lines]
        assert {line["epoch"] for line in lines} == {epoch}
        assert Counter((line["object"], line["row"]) for line in lines) == Counter(
            {(f"{n:05}.bin", 0): 1 for n in range(20)}
        )
        for vrank in range(3):
            mine = [line["i"] for line in lines if line["vrank"] == vrank]
            assert mine == list(range(len(mine)))


class Contents(Recipe):
    """Batches are the contents of files, or the first tokens of samples."""

    def decode(self, sample, rng):
        return int(bytes(sample["data"])) if "data" in sample else int(sample["tokens"][0])

    def collate(self, samples):
        return np.array(samples)


def sets_of(kind: str, folder: Path) -> DataSource | DataMixture:
    if kind == "packed":
        dataset = token_set(folder / "data", [5, 9, 2, 30, 7, 11, 23, 4] * 6, shard_bytes=10**6)
        packing = Packing(column="tokens", length=8)
        return source((folder / "data").as_uri(), packing=packing, rows=count_samples(dataset, packing, ""))
    if kind == "mixture":
        parts = tuple(source(raw_set(folder / name, 20, first)) for name, first in (("a", 0), ("b", 100)))
        return DataMixture(sources=parts, weights=(3, 1), epoch_end="last")
    return source(raw_set(folder / "data", 20), window_blocks=2 if kind == "windowed" else None)


def content(line: dict, folder: Path) -> int:
    """What a line of samples says is read."""
    if "token" in line:
        return line["token"]
    return int((local_path(line.get("source", (folder / "data").as_uri())) / line["object"]).read_bytes())


@pytest.mark.parametrize("kind", ["global", "windowed", "packed", "mixture"])
def test_workers_read_these_very_samples(tmp_path, kind) -> None:
    job = trained(tmp_path / "job", sets_of(kind, tmp_path))
    with open_training_data(job, Decoder(Contents(), seed=0)).feed(range(3), 0) as feed:
        for step in range(1, 10):
            lines = said(tmp_path / "job", step)
            for vrank in range(3):
                batch, _ = feed.take(step - 1, vrank)
                read = [] if batch is None else batch.tolist()
                assert [content(line, tmp_path) for line in lines if line["vrank"] == vrank] == read


def test_the_newest_checkpoints_step_is_meant_if_none_is_named_and_text_has_a_line_a_sample(tmp_path) -> None:
    trained(tmp_path / "job", source(raw_set(tmp_path / "data", 20)))
    lines = said(tmp_path / "job")
    assert len(lines) == 6
    text = CliRunner().invoke(app, ["show", str(tmp_path / "job"), "--samples"]).stdout.splitlines()
    assert [line.split() for line in text] == [
        [str(line[name]) for name in ("vrank", "epoch", "i", "object", "row")] for line in lines
    ]


def test_data_that_moved_are_found_where_they_are_said_to_be(tmp_path) -> None:
    trained(tmp_path / "job", source(raw_set(tmp_path / "data", 20)), note=False)
    with pytest.raises(InputError, match="not noted where the training data are"):
        said(tmp_path / "job", 3)
    assert len(said(tmp_path / "job", 3, "--data", tmp_path / "data")) == 6
    with pytest.raises(InputError, match="read 1 data sets, not 2"):
        said(tmp_path / "job", 3, "--data", tmp_path / "data", "--data", tmp_path / "data")
    raw_set(tmp_path / "other", 21)
    with pytest.raises(DataError):
        said(tmp_path / "job", 3, "--data", tmp_path / "other")


def test_a_step_that_no_checkpoint_has_seen_is_refused(tmp_path) -> None:
    trained(tmp_path / "job", source(raw_set(tmp_path / "data", 20)))
    with pytest.raises(CheckpointError, match="as far as step 10"):
        said(tmp_path / "job", 10)


def test_a_job_that_makes_its_own_data_has_no_samples(tmp_path) -> None:
    trained(tmp_path / "job", None)
    with pytest.raises(InputError, match="its recipe makes its own data"):
        said(tmp_path / "job", 3)
