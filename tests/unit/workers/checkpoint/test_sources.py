"""Tensors of an earlier state are read as they were pinned, or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tests.support.checkpoints import chunk_path, fill, flip, folder_store, save
from workers.checkpoint import sources
from workers.checkpoint.sources import file_digest, open_source
from workers.checkpoint.tensors import TensorSpec
from workers.errors import CheckpointError
from workers.protocol import InitFrom

SPECS = {
    "model/a": TensorSpec(dtype="F32", shape=(40,)),
    "model/b": TensorSpec(dtype="I64", shape=(3, 2)),
    "optimizer/a/step": TensorSpec(dtype="F32", shape=()),
}


def of_checkpoint(folder: Path, step: int = 5) -> InitFrom:
    return InitFrom(uri=folder.as_uri(), step=step, digest=save(folder_store(folder), SPECS, step).digest)


def of_file(path: Path, tensors: dict[str, torch.Tensor]) -> InitFrom:
    save_file(tensors, path)
    return InitFrom(uri=path.as_uri(), step=None, digest=file_digest(path.as_uri()))


def test_a_checkpoint_gives_the_tensors_that_are_asked_for(tmp_path) -> None:
    source = open_source(of_checkpoint(tmp_path))
    assert source.specs == SPECS
    assert source.read(["model/b"]) == {"model/b": fill(SPECS, 5)["model/b"]}


def test_an_altered_chunk_is_found(tmp_path) -> None:
    start = of_checkpoint(tmp_path)
    source = open_source(start)
    assert source.manifest is not None
    flip(chunk_path(tmp_path, source.manifest, 0), 100)
    with pytest.raises(CheckpointError, match="is altered"):
        source.read(SPECS)


def test_another_checkpoint_in_its_place_is_refused(tmp_path) -> None:
    start = of_checkpoint(tmp_path / "a")
    other = save(folder_store(tmp_path / "b"), {"model/a": SPECS["model/a"]}, 5)
    (tmp_path / "b").rename(tmp_path / "c")
    moved = InitFrom(uri=(tmp_path / "c").as_uri(), step=5, digest=start.digest)
    with pytest.raises(CheckpointError, match="step 5 is another checkpoint than when the job was submitted"):
        open_source(moved)
    assert other.digest != start.digest


def test_a_checkpoint_that_is_gone_is_named(tmp_path) -> None:
    start = of_checkpoint(tmp_path)
    with pytest.raises(CheckpointError, match="there is no checkpoint of step 6"):
        open_source(InitFrom(uri=start.uri, step=6, digest=start.digest))


@pytest.mark.parametrize("part_bytes", [1, 7, 64, 10**6])
def test_a_file_gives_its_tensors_however_it_is_read(tmp_path, monkeypatch, part_bytes) -> None:
    monkeypatch.setattr(sources, "_PART_BYTES", part_bytes)
    tensors = {
        "model/a": torch.arange(10.0),
        "model/b": torch.tensor(7),
        "model/nothing": torch.empty(0, 3),
        "model/half": torch.randn(3, 2).bfloat16(),
        "extra/x": torch.tensor([True, False]),
    }
    source = open_source(of_file(tmp_path / "a b.safetensors", tensors))
    assert source.specs["model/half"] == TensorSpec(dtype="BF16", shape=(3, 2))
    read = source.read(tensors)
    for key, tensor in tensors.items():
        assert bytes(read[key].data) == bytes(tensor.reshape(-1).view(torch.uint8).numpy().data), key
        assert read[key].shape == tuple(tensor.shape)
    assert source.read(["model/b"]).keys() == {"model/b"}


def test_the_keys_of_a_plain_state_dict_are_names_of_a_model(tmp_path) -> None:
    source = open_source(of_file(tmp_path / "x.safetensors", {"encoder.weight": torch.ones(2)}))
    assert list(source.specs) == ["model/encoder.weight"]
    assert list(source.read(source.specs)) == ["model/encoder.weight"]


def test_a_file_that_was_changed_is_refused_whatever_is_read_of_it(tmp_path) -> None:
    start = of_file(tmp_path / "x.safetensors", {"a": torch.ones(5), "b": torch.zeros(3)})
    source = open_source(start)
    flip(tmp_path / "x.safetensors", -1)
    with pytest.raises(CheckpointError, match="another one than when the job was submitted"):
        source.read(["model/a"])


def test_a_file_on_s3_is_read_in_parts(bucket, tmp_path, monkeypatch) -> None:
    from workers.storage import Store

    monkeypatch.setattr(sources, "_PART_BYTES", 100)
    save_file({"a": torch.arange(100.0)}, tmp_path / "x.safetensors")
    Store(bucket).put("models/x.safetensors", (tmp_path / "x.safetensors").read_bytes())
    uri = f"{bucket}/models/x.safetensors"
    start = InitFrom(uri=uri, step=None, digest=file_digest(uri))
    assert start.digest == file_digest((tmp_path / "x.safetensors").as_uri())
    assert bytes(open_source(start).read(["model/a"])["model/a"].data) == bytes(
        torch.arange(100.0).numpy().data
    )


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "too short"),
        (b"x" * 40, "its header would have"),
        (b"\x05" + bytes(7) + b"hello", "not a safetensors file"),
        (
            b'\x3a\0\0\0\0\0\0\0{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}    1234',
            "outside of it",
        ),
    ],
)
def test_what_is_no_safetensors_file_is_refused(tmp_path, content, words) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=words):
        open_source(InitFrom(uri=path.as_uri(), step=None, digest=file_digest(path.as_uri())))


def test_a_file_that_is_not_there_is_named(tmp_path) -> None:
    with pytest.raises(CheckpointError, match="there is no such file"):
        file_digest((tmp_path / "x.safetensors").as_uri())
