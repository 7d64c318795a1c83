"""Frozen weights cost no new chunks: a fine-tune with 90 % of them frozen writes a tenth."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.checkpoints import folder_store
from tests.support.events import train_job
from tests.support.residents import Residents
from workers.checkpoint.load import chunk_sizes, history, read_manifest, verify
from workers.checkpoint.objects import chunk_name, manifest_name
from workers.checkpoint.policy import Retention
from workers.processes import launch
from workers.protocol import InitFrom, TrainJob

#: An encoder with nine times as many weights as the head: 9 MiB and 1 MiB.
RECIPE = b"""
import torch
from torch import nn
from workers import Recipe

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Linear(512, 9 * 512, bias=False)
        self.head = nn.Linear(512, 512, bias=False)

    def forward(self, batch):
        return self.head(self.encoder(batch).view(-1, 9, 512).mean(1).tanh())

class Tune(Recipe):
    optimizer = "AdamW"

    def build_model(self):
        return Net()

    def build_optimizer(self, model):
        return getattr(torch.optim, self.optimizer)(model.parameters(), lr=0.01)

    def loss(self, model, batch):
        generator = torch.Generator().manual_seed(batch["seed"] % 2**63)
        inputs = torch.randn(batch["size"], 512, generator=generator)
        return (model(inputs) - inputs).square().mean()
"""
ENCODER, HEAD = 9 * 512 * 512 * 4, 512 * 512 * 4  # bytes
SAVES = 4


def job(folder: Path, optimizer: str, **changes: object) -> TrainJob:
    """Saves after every step, and keeps everything."""
    return train_job(
        recipe="frozen_recipe:Tune",
        sources={"frozen_recipe.py": RECIPE},
        source_folder=None,
        params={"optimizer": optimizer},
        batch_size=16,
        steps=SAVES,
        checkpoint_uri=folder.as_uri(),
        checkpoint_every=1,
        checkpoint_keep=Retention(last=100),
        checkpoint_waits=True,
        **changes,
    )


@pytest.fixture(scope="module")
def residents() -> Iterator[Residents]:
    with closing(Residents(2)) as processes:
        yield processes


@pytest.fixture(scope="module")
def start(residents: Residents, tmp_path_factory: pytest.TempPathFactory) -> InitFrom:
    """A job that has trained all of its weights."""
    folder = tmp_path_factory.mktemp("pretrained")
    written(job(folder, "AdamW"), residents)
    digest = read_manifest(folder_store(folder), SAVES).digest
    return InitFrom(uri=folder.as_uri(), step=SAVES, digest=digest)


def written(one: TrainJob, residents: Residents) -> list[int]:
    """Run a job; the bytes of the objects that each of its commits brought: chunks and manifest."""
    deque(launch(one, 2, crew=residents.crew(one)), maxlen=0)
    assert one.checkpoint_uri is not None
    store = folder_store(Path(one.checkpoint_uri.removeprefix("file://")))
    sizes, known, found = chunk_sizes(store), set[str](), []
    for step in history(store):
        manifest = read_manifest(store, step)
        names = {chunk_name(record.sha256) for record in manifest.chunks}
        chunks = sum(sizes[name] for name in names - known)
        found.append(chunks + store.head(manifest_name(step)).size)
        known |= names
    assert known == sizes.keys()  # and nothing else was written
    assert not verify(store, read_manifest(store, SAVES))
    assert len(found) == SAVES
    return found


def test_a_frozen_encoder_is_written_once(residents: Residents, start: InitFrom, tmp_path: Path) -> None:
    first, *later = written(job(tmp_path, "SGD", init_from=start, freeze=("encoder.*",)), residents)
    assert first >= ENCODER + HEAD
    for size in later:
        assert HEAD <= size <= 0.12 * first


def test_beside_the_same_fine_tune_without_freezing_a_tenth_is_written_each_time(
    residents: Residents, start: InitFrom, tmp_path: Path
) -> None:
    frozen = job(tmp_path / "frozen", "AdamW", init_from=start, freeze=("encoder.*",))
    thawed = replace(frozen, freeze=(), checkpoint_uri=(tmp_path / "thawed").as_uri())
    sizes = written(frozen, residents)
    for size, whole in zip(sizes[1:], written(thawed, residents)[1:], strict=True):
        assert 3 * HEAD <= size <= 0.12 * whole
    assert sizes[0] >= ENCODER + 3 * HEAD
