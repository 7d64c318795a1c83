import hashlib
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.checkpoints import fill, specs_strategy
from workers.checkpoint.tensors import RawTensor
from workers.digest import state_digest


def test_follows_the_published_recipe_to_the_byte() -> None:
    tensors = {
        "optimizer/w/step": RawTensor(dtype="F32", shape=(), data=memoryview(struct.pack("<f", 2.0))),
        "model/w": RawTensor(dtype="I64", shape=(1, 2), data=memoryview(struct.pack("<qq", 3, -4))),
    }
    written_out = (
        b"model/w\0I64\0[1,2]\0" + b"\3" + b"\0" * 7 + b"\xfc" + b"\xff" * 7
        + b"optimizer/w/step\0F32\0[]\0" + b"\0\0\0\x40"
    )  # fmt: skip
    assert state_digest(tensors) == hashlib.sha256(written_out).hexdigest()


def test_of_nothing_is_the_hash_of_nothing() -> None:
    assert state_digest({}) == hashlib.sha256().hexdigest()


@given(specs_strategy(), st.randoms(use_true_random=False))
@settings(max_examples=50)
def test_does_not_depend_on_the_order_of_the_mapping(specs, random) -> None:
    tensors = fill(specs)
    items = list(tensors.items())
    random.shuffle(items)
    assert state_digest(dict(items)) == state_digest(tensors)


@pytest.mark.parametrize(
    "other",
    [
        {"model/v": ("F32", (2, 3), b"\0" * 24)},
        {"model/w": ("I32", (2, 3), b"\0" * 24)},
        {"model/w": ("F32", (3, 2), b"\0" * 24)},
        {"model/w": ("F32", (2, 3), b"\0" * 23 + b"\1")},
        {"model/w": ("F32", (2, 3), b"\0" * 24), "model/x": ("F32", (0,), b"")},
    ],
    ids=["key", "dtype", "shape", "one bit", "an empty tensor more"],
)
def test_changes_with(other) -> None:
    def digest(state) -> str:
        return state_digest(
            {key: RawTensor(dtype=d, shape=s, data=memoryview(b)) for key, (d, s, b) in state.items()}
        )

    assert digest(other) != digest({"model/w": ("F32", (2, 3), b"\0" * 24)})
