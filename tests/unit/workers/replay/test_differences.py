"""What differs from a checkpoint is named, in full, and what does not is not."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from tests.support.checkpoints import FINGERPRINT, JOB, SMALL_CHUNKS, folder_store
from workers import Recipe
from workers.checkpoint.draft import draft_manifest
from workers.checkpoint.layout import plan_chunks
from workers.checkpoint.manifest import Manifest
from workers.checkpoint.objects import cut_from
from workers.checkpoint.save import commit, write_chunks
from workers.replay.differences import differences
from workers.storage import Store
from workers.training.replica import Replica


class Small(Recipe):
    width = 5

    def build_model(self) -> nn.Module:
        return nn.Sequential(nn.Linear(3, self.width), nn.BatchNorm1d(self.width))

    def build_optimizer(self, model: nn.Module) -> torch.optim.Optimizer:
        return torch.optim.AdamW(model.parameters(), lr=0.01)


def replica(**params: object) -> Replica:
    """After one step, so that there is optimizer state."""
    made = Replica(Small(**params), 0, torch.device("cpu"))
    made.model(torch.eye(3)).square().sum().backward()
    made.optimizer.step()
    return made


def saved(made: Replica, store: Store) -> Manifest:
    chunks = plan_chunks(made.specs(), SMALL_CHUNKS)
    records = write_chunks(store, chunks, range(len(chunks)), cut_from(made.raw())).records
    draft = draft_manifest(
        JOB,
        step=1,
        epoch=0,
        samples=64,
        fingerprint=FINGERPRINT,
        scalars=made.scalars(),
        specs=made.specs(),
        state_digest=made.digest(),
    )
    return commit(store, draft, records, None)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> tuple[Store, Manifest]:
    store = folder_store(tmp_path_factory.mktemp("differences"))
    return store, saved(replica(), store)


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_every_altered_tensor_is_named_with_how_many_elements_and_by_how_much(checkpoint, data) -> None:
    store, manifest = checkpoint
    made = replica()
    tensors = {key: t for key, t in made.tensors().items() if t.is_floating_point() and t.dim()}
    altered = data.draw(st.dictionaries(st.sampled_from(sorted(tensors)), st.integers(1, 5), max_size=3))
    expected = {}
    for key, count in altered.items():
        flat = tensors[key].view(-1)
        positions = data.draw(st.sets(st.integers(0, len(flat) - 1), min_size=1, max_size=count))
        before = flat.clone()
        flat[list(positions)] += 0.25
        expected[key] = (len(positions), len(flat), float((flat.double() - before.double()).abs().max()))
    found = differences(made, store, manifest)
    assert {d.key: (d.elements, d.of, d.max_abs) for d in found} == expected
    assert [d.key for d in found] == sorted(expected)


def test_a_bit_that_no_comparison_of_numbers_sees_is_a_difference(tmp_path) -> None:
    made = replica()
    made.model[1].running_mean.zero_()  # type: ignore[index]
    other = folder_store(tmp_path)
    zeros = saved(made, other)
    made.model[1].running_mean.neg_()  # type: ignore[index]
    [found] = differences(made, other, zeros)
    assert (found.key, found.elements, found.max_abs) == ("model/1.running_mean", 5, 0.0)
    made.model[1].running_mean[2] = math.nan  # type: ignore[index]
    [found] = differences(made, other, zeros)
    assert (found.elements, found.max_abs) == (5, None)


def test_other_shapes_missing_tensors_and_other_scalars_are_differences(checkpoint) -> None:
    store, manifest = checkpoint
    wide = {d.key: d.what for d in differences(replica(width=6), store, manifest)}
    assert wide["model/0.weight"] == "was F32 (5, 3), is F32 (6, 3)"
    fresh = Replica(Small(), 0, torch.device("cpu"))
    missing = [d.key for d in differences(fresh, store, manifest) if d.what == "is in the checkpoint only"]
    assert missing == sorted(key for key in manifest.tensors if key.startswith("optimizer/"))
    slower = replica()
    slower.optimizer.param_groups[0]["lr"] = 0.5
    [found] = differences(slower, store, manifest)
    assert found.key == "scalars/optimizer_groups"
