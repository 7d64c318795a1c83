"""What is kept of a step can be read back by anybody, and says what could not be kept."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from workers.errors import AccessError
from workers.replay.keep import FolderKeeper

BATCH = {"image": torch.arange(6.0).view(2, 3).T, "ids": [np.array([1, 2]), "a word"], "wide": 3 + 4j}


def test_tensors_are_read_back_and_the_rest_is_described(tmp_path) -> None:
    keeper = FolderKeeper(tmp_path / "new" / "folder")
    batch = {**BATCH, "image": BATCH["image"].clone()}
    keeper.batch(3, batch)
    batch["image"].zero_()  # as recipes may
    keeper.inputs(3, {"0": torch.ones(2, dtype=torch.bfloat16), "mask": None})
    keeper.gradient(3, "layer.weight", torch.full((2, 2), 0.5))
    keeper.ends(3)
    keeper.gradient(None, "layer.weight", torch.full((2, 2), 0.25))
    keeper.gradient(None, "odd", torch.zeros(2, dtype=torch.complex128))
    keeper.close({"step": 7})
    kept = load_file(tmp_path / "new" / "folder" / "vrank-0003.safetensors")
    assert torch.equal(kept.pop("batch/image"), BATCH["image"])
    assert torch.equal(kept.pop("batch/ids/0"), torch.tensor([1, 2]))
    assert torch.equal(kept.pop("inputs/0"), torch.ones(2, dtype=torch.bfloat16))
    assert torch.equal(kept.pop("gradient/layer.weight"), torch.full((2, 2), 0.5))
    assert kept == {}
    whole = load_file(tmp_path / "new" / "folder" / "gradients.safetensors")
    assert torch.equal(whole["gradient/layer.weight"], torch.full((2, 2), 0.25))
    said = json.loads((tmp_path / "new" / "folder" / "step.json").read_text())
    assert said["step"] == 7
    others = said["not_tensors"]["vrank 3"]
    assert others["batch/ids/1"] == {"type": "str", "value": "'a word'"}
    assert others.keys() == {"batch/ids/1", "batch/wide", "inputs/mask"}
    assert said["not_tensors"]["step"].keys() == {"gradient/odd"}


def test_of_one_virtual_rank_alone(tmp_path) -> None:
    keeper = FolderKeeper(tmp_path, vrank=1)
    for vrank in range(3):
        keeper.batch(vrank, torch.ones(1))
        keeper.gradient(vrank, "a", torch.ones(1))
        keeper.ends(vrank)
    keeper.close({})
    assert [path.name for path in sorted(tmp_path.glob("vrank-*"))] == ["vrank-0001.safetensors"]


def test_a_folder_that_cannot_be_is_refused_at_once(tmp_path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(AccessError, match="choose a folder"):
        FolderKeeper(tmp_path / "file" / "folder")
