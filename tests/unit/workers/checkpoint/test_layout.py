from dataclasses import replace

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.support.checkpoints import specs_strategy
from workers.checkpoint.layout import Piece, assign, chunk_bytes_for, plan_chunks
from workers.checkpoint.tensors import TensorSpec
from workers.errors import CheckpointError

MIB = 2**20
sizes = st.integers(1, 300)


def f32(*shape: int, frozen: bool = False) -> TensorSpec:
    return TensorSpec(dtype="F32", shape=shape, frozen=frozen)


@given(specs_strategy(), sizes)
@settings(max_examples=200)
def test_every_element_is_in_exactly_one_chunk(specs, chunk_bytes) -> None:
    pieces = sorted(piece for chunk in plan_chunks(specs, chunk_bytes) for piece in chunk.pieces)
    for key, spec in specs.items():
        covered = [i for piece in pieces if piece.key == key for i in range(piece.start, piece.stop)]
        assert covered == list(range(spec.elements))
    assert {piece.key for piece in pieces} == set(specs)


@given(specs_strategy(), sizes)
@settings(max_examples=200)
def test_chunks_of_one_kind_are_equal_to_within_an_element(specs, chunk_bytes) -> None:
    chunks = plan_chunks(specs, chunk_bytes)
    for frozen in (True, False):
        held = [chunk.nbytes for chunk in chunks if chunk.frozen is frozen]
        total = sum(spec.nbytes for spec in specs.values() if spec.frozen is frozen)
        assert sum(held) == total
        assert all(nbytes < total / -(-total // chunk_bytes) + 2 * 8 for nbytes in held if total)


@given(specs_strategy(), sizes, st.integers(0, 200))
@settings(max_examples=100)
def test_frozen_chunks_do_not_depend_on_what_is_trained(specs, chunk_bytes, more) -> None:
    trained_changed = {
        key: spec if spec.frozen else replace(spec, shape=(*spec.shape, 2)) for key, spec in specs.items()
    } | {"model/zz": f32(more)}
    before, after = (
        [chunk for chunk in plan_chunks(state, chunk_bytes) if chunk.frozen]
        for state in (specs, trained_changed)
    )
    assert before == after


@given(specs_strategy(), sizes)
@settings(max_examples=50)
def test_no_chunk_mixes_frozen_and_trained(specs, chunk_bytes) -> None:
    for chunk in plan_chunks(specs, chunk_bytes):
        assert {specs[piece.key].frozen for piece in chunk.pieces} == {chunk.frozen}


def test_the_order_of_the_mapping_does_not_matter() -> None:
    specs = {"model/b": f32(40), "model/a": f32(7), "extra/c": f32(3, frozen=True)}
    assert plan_chunks(specs, 32) == plan_chunks(dict(sorted(specs.items())), 32)


def test_a_tensor_larger_than_a_chunk_is_split_between_elements() -> None:
    pieces = [chunk.pieces for chunk in plan_chunks({"model/w": f32(5, 5)}, 50)]
    assert pieces == [(Piece("model/w", 0, 13),), (Piece("model/w", 13, 25),)]


def test_a_state_of_nothing_has_no_chunks() -> None:
    assert plan_chunks({}) == ()
    assert assign((), 3) == ((), (), ())


@pytest.mark.parametrize(
    ("total", "count"),
    [
        (1, 1),
        (4 * MIB, 1),
        (64 * MIB, 16),
        (512 * MIB, 128),
        (1200 * MIB, 128),
        (8192 * MIB, 128),
        (16384 * MIB, 256),
    ],
)
def test_the_default_size_shares_out_small_states_and_bounds_memory(total, count) -> None:
    chunks = plan_chunks({"model/w": TensorSpec(dtype="U8", shape=(total,))})
    assert len(chunks) == count
    assert max(chunk.nbytes for chunk in chunks) <= chunk_bytes_for(total) <= 64 * MIB


@given(specs_strategy(), sizes, st.integers(1, 40))
@settings(max_examples=200)
@example({"model/w": f32(3)}, 4, 9)  # more workers than chunks
def test_each_chunk_is_assigned_once_and_the_loads_are_even(specs, chunk_bytes, world) -> None:
    chunks = plan_chunks(specs, chunk_bytes)
    ranks = assign(chunks, world)
    assert sorted(number for numbers in ranks for number in numbers) == list(range(len(chunks)))
    assert len(ranks) == world
    trained = [0 if chunk.frozen else chunk.nbytes for chunk in chunks]
    for counted in (trained, [chunk.nbytes for chunk in chunks]):
        loads = [sum(counted[number] for number in numbers) for numbers in ranks]
        assert max(loads) - min(loads) <= max(counted, default=0)


def test_a_dtype_that_cannot_be_stored_is_refused() -> None:
    with pytest.raises(CheckpointError, match="F4 cannot be stored"):
        TensorSpec(dtype="F4", shape=(2,))
