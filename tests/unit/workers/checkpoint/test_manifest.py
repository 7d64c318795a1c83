import json
from dataclasses import replace

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.support.checkpoints import SMALL_CHUNKS, draft, fill, specs_strategy
from workers.checkpoint.layout import plan_chunks
from workers.checkpoint.manifest import Manifest, Parent
from workers.checkpoint.objects import cut_from, encode_chunk
from workers.checkpoint.tensors import TensorSpec
from workers.errors import CheckpointError

SPECS = {
    "model/w": TensorSpec(dtype="F32", shape=(5, 7)),
    "model/frozen": TensorSpec(dtype="BF16", shape=(9,), frozen=True),
}


def records(specs, step: int) -> dict:
    tensors = fill(specs, step)
    found = {}
    for number, chunk in enumerate(plan_chunks(specs, SMALL_CHUNKS)):
        size = sum(map(len, encode_chunk(chunk.pieces, cut_from(tensors))))
        found[number] = {"sha256": f"{number:064x}", "size": size, "pieces": [list(p) for p in chunk.pieces]}
    return found


def manifest(specs=SPECS, step: int = 3, parent: Manifest | None = None) -> Manifest:
    return Manifest.parse(Manifest.compose(draft(specs, step), records(specs, step), parent).to_bytes())


@given(specs_strategy())
@settings(max_examples=50)
def test_what_is_read_is_what_was_written(specs) -> None:
    data = Manifest.compose(draft(specs, 3), records(specs, 3), None).to_bytes()
    assert Manifest.parse(data).to_bytes() == data
    assert Manifest.parse(data).tensors == specs


@given(st.integers(0), st.integers(0, 255))
@settings(max_examples=300)
def test_no_byte_can_be_changed_unnoticed(position, value) -> None:
    data = bytearray(manifest().to_bytes())
    assume(data[position % len(data)] != value)
    data[position % len(data)] = value
    with pytest.raises(CheckpointError, match="altered"):
        Manifest.parse(bytes(data), where="here")


@pytest.mark.parametrize("data", [b"", b"[]", b"null", b"{}", b'{"sha256":1}', b"\xff"])
def test_what_is_not_a_manifest_is_refused(data) -> None:
    with pytest.raises(CheckpointError, match="altered"):
        Manifest.parse(data)


def test_nothing_in_it_says_when_where_or_by_how_many_it_was_written() -> None:
    body = json.loads(manifest().to_bytes())
    assert sorted(body) == [
        "batch_size", "chunks", "data", "epoch", "fingerprint", "format", "freeze", "init_from", "job",
        "left_out", "max_grad_norm", "numerics", "params", "parent", "recipe", "samples", "scalars", "seed",
        "sha256", "sources", "state_digest", "step", "tensors", "virtual_ranks",
    ]  # fmt: skip
    assert "uri" not in json.dumps(body)


def test_it_names_its_parent_by_the_hash_of_its_bytes() -> None:
    parent = manifest(step=2)
    assert manifest(step=3, parent=parent).parent == Parent(step=2, sha256=parent.digest)


def test_a_parent_that_is_not_earlier_is_refused() -> None:
    with pytest.raises(CheckpointError, match="step 3 cannot follow step 3"):
        manifest(step=3, parent=manifest(step=3))


def test_chunks_that_leave_a_part_of_a_tensor_out_are_refused() -> None:
    some = records(SPECS, 3)
    del some[1]
    with pytest.raises(CheckpointError, match="do not hold model/w exactly once"):
        Manifest.compose(draft(SPECS, 3), some, None)


def test_chunks_that_hold_an_element_twice_are_refused() -> None:
    whole = manifest()
    with pytest.raises(CheckpointError, match="exactly once"):
        replace(whole, chunks=(*whole.chunks, whole.chunks[-1]))


def test_a_manifest_of_a_later_format_says_so(monkeypatch) -> None:
    monkeypatch.setattr("workers.checkpoint.manifest.FORMAT", 2)
    data = manifest().to_bytes()
    monkeypatch.undo()
    with pytest.raises(CheckpointError, match="format 2; this version reads 1"):
        Manifest.parse(data)


def test_numbers_that_are_not_finite_survive() -> None:
    scalars = {"schedule": {"best": float("inf")}}  # as ReduceLROnPlateau begins with
    made = Manifest.compose(draft(SPECS, 3) | {"scalars": scalars}, records(SPECS, 3), None)
    assert Manifest.parse(made.to_bytes()).scalars == scalars
