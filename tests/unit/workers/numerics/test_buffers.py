"""Buffers: every virtual rank starts from the step's, virtual rank 0's are kept, on every worker."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from tests.support.groups import connected, in_threads
from workers.errors import RecipeError
from workers.numerics.buffers import StepBuffers
from workers.numerics.exchange import Alone, Exchange

V = 5
ALONE = Alone(torch.device("cpu"))


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(3)
        self.register_buffer("flag", torch.tensor(False))
        self.register_buffer("wide", torch.zeros(2, 2, dtype=torch.bfloat16))
        self.register_buffer("nothing", torch.empty(0))
        self.register_buffer("table", torch.arange(4.0), persistent=False)
        self.register_buffer("calls", torch.zeros((), dtype=torch.int32), persistent=False)
        self.frozen = True

    def forward(self, number: int) -> None:
        self.norm(torch.randn(4, 3, generator=torch.Generator().manual_seed(number)))
        self.flag |= number == 0
        self.wide += number + 1
        self.calls += 1
        if not self.frozen:
            self.table += 1


def buffers_of(model: nn.Module) -> dict[str, Tensor]:
    return {name: buffer.clone() for name, buffer in model.named_buffers()}


def assert_same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    assert [name for name in found if not torch.equal(found[name], expected[name])] == []


def warmed_up(model: Model) -> StepBuffers:
    buffers = StepBuffers(model)
    for _ in range(2):
        with buffers.discarded():
            model(99)
    buffers.settle()
    return buffers


def step(exchange: Exchange, hosted: list[list[int]], model: Model, empty: set[int]) -> dict[str, Tensor]:
    buffers = warmed_up(model)
    for number in range(2):
        buffers.begin()
        for vrank in hosted[exchange.rank]:
            if vrank not in empty:
                model(vrank + 10 * number)
                buffers.after(vrank)
        buffers.finish(exchange, owner=next(rank for rank, own in enumerate(hosted) if 0 in own))
        exchange.flush()
        buffers.keep()
    return buffers_of(model)


@pytest.mark.parametrize("hosted", [[[0, 1, 2, 3, 4]], [[1, 2], [0, 4], [3]], [[4], [3], [2], [1], [0]]])
def test_every_worker_ends_a_step_with_virtual_rank_0s_buffers(hosted):
    expected = Model()
    for number in (0, 10):
        expected(number)
    found = in_threads([lambda e=e: step(e, hosted, Model(), set()) for e in connected(len(hosted))])
    for each in found:
        assert_same(each, buffers_of(expected))


@pytest.mark.parametrize("hosted", [[[0, 1, 2, 3, 4]], [[1, 2], [0, 4], [3]]])
def test_without_a_sample_for_virtual_rank_0_they_stay_as_they_were(hosted):
    found = in_threads([lambda e=e: step(e, hosted, Model(), {0}) for e in connected(len(hosted))])
    for each in found:
        assert_same(each, buffers_of(Model()))


def test_the_warm_up_leaves_no_trace():
    model = Model()
    warmed_up(model)
    assert_same(buffers_of(model), buffers_of(Model()))


def test_constants_cost_nothing_and_a_later_change_is_refused():
    model = Model()
    buffers = warmed_up(model)
    buffers.begin()
    version = model.table._version
    model(1)
    buffers.after(1)
    assert model.table._version == version, "a constant was copied"
    model.frozen = False
    model(2)
    with pytest.raises(RecipeError, match="buffer table changed"):
        buffers.after(2)


def test_a_constant_that_is_replaced_is_refused_too():
    model = Model()
    buffers = warmed_up(model)
    buffers.begin()
    model.table = model.table.clone()
    with pytest.raises(RecipeError, match="buffer table changed"):
        buffers.after(0)


def test_adopting_a_state_is_not_a_change_in_a_step():
    model = Model()
    buffers = warmed_up(model)
    model.table.copy_(torch.ones(4))
    buffers.settle()
    buffers.begin()
    model(0)
    buffers.after(0)
    buffers.finish(ALONE, owner=0)
    assert model.table.tolist() == [1.0] * 4


@pytest.mark.parametrize("passed", [[], [0], [1], [0, 1, 2]])
@pytest.mark.parametrize("in_a_pass", [True, False])
def test_a_step_that_is_broken_off_goes_back_to_the_buffers_that_it_started_from(passed, in_a_pass):
    model, expected = Model(), Model()
    buffers = warmed_up(model)
    for number in (0, 10):
        if number:
            buffers.begin()
            for vrank in passed:
                model(vrank + number)
                buffers.after(vrank)
            if in_a_pass:
                model(99)
            buffers.abandon()
        buffers.begin()
        model(0)
        buffers.after(0)
        buffers.finish(ALONE, owner=0)
        expected(0)
    assert_same(buffers_of(model), buffers_of(expected))


def test_after_the_end_of_a_step_there_is_nothing_to_go_back_to():
    model = Model()
    buffers = warmed_up(model)
    buffers.abandon()
    assert_same(buffers_of(model), buffers_of(Model()))
    buffers.begin()
    model(0)
    buffers.after(0)
    buffers.finish(ALONE, owner=0)
    buffers.keep()
    done = buffers_of(model)
    buffers.abandon()
    assert_same(buffers_of(model), done)


def test_a_model_without_buffers_needs_nothing():
    buffers = StepBuffers(nn.Linear(1, 1))
    for exchange in in_threads([lambda e=e: e for e in connected(2)]):
        buffers.begin()
        buffers.abandon()
        buffers.after(0)
        buffers.finish(exchange, owner=0)  # sends nothing, so it does not wait for the other
