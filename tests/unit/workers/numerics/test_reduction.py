"""The reduction over real gloo groups gives the plain fold's bits, whatever W is."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.support.groups import connected, in_threads
from workers.numerics.exchange import Exchange
from workers.numerics.reduction import TreeReducer
from workers.numerics.tree import Accumulator, dyadic_assignment, fold_leaves

#: Lengths that are odd, below W * 16, one more and one less than whole slices, and a few slices long.
LENGTHS = (0, 1, 3, 15, 16, 17, 47, 48, 49, 161)


def leaves(vranks: int, length: int, dtype: torch.dtype, seed: int) -> list[Tensor]:
    """Numbers of very different sizes, so that every order of summation has its own bits."""
    generator = torch.Generator().manual_seed(seed)
    scale = torch.exp(4 * torch.randn(vranks, length, generator=generator))
    return list((torch.randn(vranks, length, generator=generator) * scale).to(dtype))


def plain(values: list[Tensor], divisor: float) -> Tensor:
    return fold_leaves([value.clone() for value in values], torch.add) / divisor


def reduced(
    exchange: Exchange, hosted: tuple[tuple[int, ...], ...], buffers: list[list[Tensor]], divisor: float
) -> list[Tensor]:
    """One member's part of one step; `buffers` holds one list of leaves per buffer."""
    reducer = TreeReducer(exchange, hosted)
    own, outs, started = hosted[exchange.rank], [], []
    for _ in range(2):  # twice, since receive buffers are kept
        outs, started = [], []
        for number, values in enumerate(buffers):
            held: Accumulator[Tensor] = Accumulator(own, reducer.leaves, torch.add)
            for vrank in own:
                held.push(vrank, values[vrank].clone())
            assert set(held) == set(reducer.nodes)
            out = held[reducer.nodes[-1]]  # one of the partials, as in a bucket of DDP
            outs.append(out)
            started.append(reducer.start(number, held, out))
        reducer.finish(started, divisor)
        exchange.flush()
    return outs


def check(world: int, vranks: int, lengths: list[int], dtype: torch.dtype, divisor: float) -> None:
    hosted = dyadic_assignment(vranks, world)
    buffers = [leaves(vranks, length, dtype, seed=number) for number, length in enumerate(lengths)]
    exchanges = connected(world)
    found = in_threads([lambda e=e: reduced(e, hosted, buffers, divisor) for e in exchanges])
    for number, values in enumerate(buffers):
        expected = plain(values, divisor)
        for outs in found:
            assert outs[number].view(torch.uint8).tolist() == expected.view(torch.uint8).tolist()


@pytest.mark.parametrize("world", [1, 2, 3, 4, 5, 7])
def test_every_worker_gets_the_plain_folds_bits(world):
    check(world, 7, list(LENGTHS), torch.float32, 7)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_other_kinds_of_numbers_too(dtype):
    check(3, 8, [5, 100], dtype, 61)


@settings(max_examples=12, deadline=None)
@given(
    st.integers(3, 6),
    st.integers(0, 14),
    st.lists(st.integers(0, 200), min_size=1, max_size=4),
    st.floats(1, 1e6),
)
def test_for_any_world_of_at_least_three(world, more, lengths, divisor):
    check(world, world + more, lengths, torch.float32, divisor)


def test_sequential_addition_would_give_other_bits():
    """Else none of the above could fail."""
    values = leaves(8, 100, torch.float32, seed=0)
    assert not torch.equal(torch.stack(values).cumsum(0)[-1] / 8, plain(values, 8))
