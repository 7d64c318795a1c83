"""A job begins with tensors of an earlier state: with all that was asked for, or with none."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn, optim

from tests.support.checkpoints import chunk_path, flip, folder_store
from tests.support.events import train_job
from workers import Recipe
from workers.checkpoint.draft import draft_manifest
from workers.checkpoint.layout import plan_chunks
from workers.checkpoint.manifest import Manifest
from workers.checkpoint.objects import cut_from
from workers.checkpoint.save import commit, write_chunks
from workers.checkpoint.sources import file_digest
from workers.errors import CheckpointError
from workers.protocol import InitFrom
from workers.training.initial import begin_from
from workers.training.replica import Replica

CPU = torch.device("cpu")


class Net(nn.Module):
    def __init__(self, classes: int) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
        self.head = nn.Linear(4, classes)
        self.register_buffer("mask", torch.ones(4), persistent=False)

    def forward(self, batch: Tensor) -> Tensor:
        return self.head(self.encoder(batch) * self.mask)


class Toy(Recipe):
    classes = 2
    optimizer: Any = optim.AdamW
    schedule: Any = optim.lr_scheduler.ExponentialLR

    def build_model(self) -> nn.Module:
        self.average = torch.zeros(3)
        return Net(self.classes)

    def build_optimizer(self, model: nn.Module) -> optim.Optimizer:
        made: optim.Optimizer = self.optimizer(model.parameters(), lr=0.01)
        return made

    def build_schedule(self, optimizer: optim.Optimizer) -> Any:
        return self.schedule(optimizer, 0.9) if self.schedule else None

    def extra_state(self) -> dict[str, Tensor]:
        return {"average": self.average}


def replica(seed: int = 0, freeze: tuple[str, ...] = (), **params: Any) -> Replica:
    return Replica(Toy(**params), seed, CPU, freeze)


def train(one: Replica, steps: int) -> Replica:
    for _ in range(steps):
        batch = torch.randn(5, 3, generator=torch.Generator().manual_seed(one.step))
        one.model(batch).square().mean().backward()
        one.optimizer.step()
        one.model.zero_grad(set_to_none=True)
        one.schedule.step()
        one.recipe.average += 1
        one.step += 1
    return one


def saved(folder: Path, one: Replica) -> InitFrom:
    """Save a replica, as a worker does that is alone."""
    store, chunks = folder_store(folder), plan_chunks(one.specs())
    written = write_chunks(store, chunks, range(len(chunks)), cut_from(one.raw()))
    draft = draft_manifest(
        train_job(),
        step=one.step,
        epoch=0,
        samples=0,
        fingerprint={"optimizer": type(one.optimizer).__name__},
        scalars=one.scalars(),
        specs=one.specs(),
        state_digest=one.digest(),
    )
    return InitFrom(
        uri=folder.as_uri(), step=one.step, digest=commit(store, draft, written.records, None).digest
    )


def bits(one: Replica) -> dict[str, bytes]:
    return {key: bytes(raw.data) for key, raw in one.raw().items()}


@pytest.fixture
def pretrained() -> Replica:
    return train(replica(seed=1), 4)


@pytest.fixture
def start(pretrained: Replica, tmp_path: Path) -> InitFrom:
    return saved(tmp_path / "pretrained", pretrained)


def refused(one: Replica, start: InitFrom) -> str:
    """What is said; nothing was changed."""
    before = bits(one)
    with pytest.raises(CheckpointError) as caught:
        begin_from(one, start)
    assert bits(one) == before
    return str(caught.value)


def test_a_model_begins_with_all_of_another_one_and_a_fresh_optimizer(pretrained, start) -> None:
    one = replica()
    begin_from(one, start)
    assert {k: v for k, v in bits(one).items() if k.startswith("model/")} == {
        k: v for k, v in bits(pretrained).items() if k.startswith("model/")
    }
    assert (one.step, dict(one.optimizer.state)) == (0, {})
    assert one.scalars() == replica().scalars()
    assert torch.equal(one.recipe.average, torch.zeros(3))


def test_of_some_tensors_the_bits_are_theirs_and_of_the_others_the_recipes_own(pretrained, start) -> None:
    one, fresh = replica(classes=5), bits(replica(classes=5))
    begin_from(one, replace(start, tensors=("model/encoder.*", "extra/*")))
    theirs = bits(pretrained)
    for key, value in bits(one).items():
        taken = key.startswith(("model/encoder.", "extra/"))
        assert value == (theirs if taken else fresh)[key], key
    train(one, 1)


def test_names_are_mapped(tmp_path, pretrained) -> None:
    class Renamed(Toy):
        def build_model(self) -> nn.Module:
            self.average = torch.zeros(3)
            made = Net(2)
            made.body = made.encoder
            del made.encoder
            return made

    start = replace(saved(tmp_path, pretrained), rename={"model/encoder.": "model/body."})
    one = Replica(Renamed(), 0, CPU)
    begin_from(one, start)
    assert torch.equal(one.model.body[0].weight, pretrained.model.encoder[0].weight)
    assert "model/body.0.weight is not there" in refused(
        Replica(Renamed(), 0, CPU), replace(start, rename={})
    )


def test_the_whole_state_goes_on_where_it_was_but_for_the_number_of_the_step(pretrained, start) -> None:
    one = replica()
    begin_from(one, replace(start, tensors=("*",)))
    assert (one.digest(), one.scalars(), one.step) == (pretrained.digest(), pretrained.scalars(), 0)
    one.step = pretrained.step  # the batches of this test
    assert train(one, 3).digest() == train(pretrained, 3).digest()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"classes": 3}, "model/head.weight is F32 (2, 4) there and F32 (3, 4) here"),
        ({"optimizer": optim.Adam}, "the optimizer is AdamW there and Adam here"),
        ({"freeze": ("encoder.*",)}, "a state of encoder.0.bias there, which is not trained here"),
        ({"schedule": None}, "the schedule is another kind"),
        ({"optimizer": optim.SGD}, "parameter groups are"),
    ],
)
def test_a_whole_state_that_does_not_fit_exactly_is_refused(start, changes, words) -> None:
    assert words in refused(replica(**changes), replace(start, tensors=("*",)))


def test_what_does_not_fit_is_told_at_once_and_nothing_is_changed(start) -> None:
    said = refused(replica(classes=3), start)
    assert "init_from: file://" in said
    assert "model/head.weight is F32 (2, 4) there and F32 (3, 4) here" in said
    assert "model/head.bias is F32 (2,) there and F32 (3,) here" in said
    assert "choose tensors with init_from.tensors" in said


def test_a_flipped_bit_is_found_and_nothing_is_changed(start, tmp_path) -> None:
    store = folder_store(tmp_path / "pretrained")
    manifest = Manifest.parse(store.get("manifests/000000000004.json"))
    flip(chunk_path(tmp_path / "pretrained", manifest, 0), -9)
    assert "is altered" in refused(replica(), start)


def test_a_state_dict_of_somebody_else_is_taken_without_the_constants_that_it_leaves_out(tmp_path) -> None:
    there = Net(2)
    save_file(there.state_dict(), tmp_path / "net.safetensors")
    uri = (tmp_path / "net.safetensors").as_uri()
    one = replica()
    begin_from(one, InitFrom(uri=uri, step=None, digest=file_digest(uri)))
    for name, tensor in one.model.state_dict().items():
        assert torch.equal(tensor, there.state_dict()[name]), name
    assert torch.equal(one.model.mask, torch.ones(4))
