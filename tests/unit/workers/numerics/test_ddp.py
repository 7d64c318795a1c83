"""Gradients through DDP are those of plain autograd, folded in the tree's order, bit for bit."""

from __future__ import annotations

import copy
import gc
from collections.abc import Sequence
from weakref import ref

import pytest
import torch
from torch import Tensor, nn

from tests.support.groups import connected, in_threads
from workers.errors import RecipeError
from workers.numerics.ddp import ElasticDDP, FastDDP
from workers.numerics.exchange import Exchange, PeerLost
from workers.numerics.tree import dyadic_assignment, fold_leaves

V = 7


class Convolutions(nn.Module):
    """Several layouts, a tied weight, a frozen parameter, and more than one of DDP's buckets."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(2, 4, 3, padding=1).to(memory_format=torch.channels_last)
        self.wide = nn.Linear(64, 4096)
        self.tied = nn.Linear(4096, 64, bias=False)
        self.tied.weight = nn.Parameter(self.wide.weight.detach().t())  # not contiguous
        self.norm = nn.LayerNorm(64)
        self.again = self.norm
        self.frozen = nn.Linear(64, 64)
        self.frozen.requires_grad_(False)

    def forward(self, batch: Tensor) -> Tensor:
        hidden = self.first(batch.to(memory_format=torch.channels_last)).flatten(1)
        return self.again(self.frozen(self.norm(self.tied(self.wide(hidden).tanh()))))


class Detour(nn.Module):
    """Reaches one of its branches only when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.main, self.branch = nn.Linear(3, 3), nn.Linear(3, 3)
        self.detour = False

    def forward(self, batch: Tensor) -> Tensor:
        return self.branch(self.main(batch)) if self.detour else self.main(batch)


def micro_batches(shape: Sequence[int]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(3)
    return [torch.randn(*shape, generator=generator) for _ in range(V)]


def loss(module: nn.Module, batch: Tensor) -> Tensor:
    return (module(batch) ** 2).mean()


def plain(model: nn.Module, batches: Sequence[Tensor | None], divisor: float) -> dict[str, Tensor]:
    """The mean gradient without DDP. None: a virtual rank without a sample."""
    model = copy.deepcopy(model)
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    leaves = []
    for batch in batches:
        model.zero_grad(set_to_none=True)
        if batch is not None:
            loss(model, batch).backward()
        leaves.append([torch.zeros_like(p) if p.grad is None else p.grad for p in trained.values()])
    root = fold_leaves(leaves, lambda a, b: [x + y for x, y in zip(a, b, strict=True)])
    return {name: gradient / divisor for name, gradient in zip(trained, root, strict=True)}


def warmed_up(model: nn.Module, batch: Tensor, *, unused_parameters: bool = False) -> ElasticDDP:
    ddp = ElasticDDP(model, unused_parameters=unused_parameters)
    for _ in range(2):
        loss(ddp.module, batch).backward()
        model.zero_grad(set_to_none=True)
    return ddp


def step(
    ddp: ElasticDDP, exchange: Exchange, own: Sequence[int], batches: Sequence[Tensor | None], divisor: float
) -> dict[str, Tensor]:
    for vrank in own:
        batch = batches[vrank]
        if batch is None:
            ddp.skip(vrank)
        else:
            with ddp.passes(vrank):
                loss(ddp.module, batch).backward()
    ddp.finish(divisor)
    exchange.flush()
    model = ddp.module.module
    found = {n: p.grad.clone() for n, p in model.named_parameters() if p.requires_grad and p.grad is not None}
    model.zero_grad(set_to_none=True)
    return found


def elastic(
    model: nn.Module,
    world: int,
    batches: Sequence[Tensor | None],
    divisor: float = V,
    *,
    unused_parameters: bool = False,
) -> list[dict[str, Tensor]]:
    """What each of `world` members has after the same step was made twice."""
    hosted = dyadic_assignment(V, world)
    first = next(batch for batch in batches if batch is not None)
    ddps = [warmed_up(copy.deepcopy(model), first, unused_parameters=unused_parameters) for _ in range(world)]

    def member(exchange: Exchange) -> dict[str, Tensor]:
        ddp = ddps[exchange.rank]
        ddp.join(exchange, hosted)
        once = step(ddp, exchange, hosted[exchange.rank], batches, divisor)
        assert_same(step(ddp, exchange, hosted[exchange.rank], batches, divisor), once)
        return once

    exchanges = connected(world)
    return in_threads([lambda e=e: member(e) for e in exchanges])


def assert_same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        assert torch.equal(found[name], gradient), name


@pytest.mark.parametrize("world", [1, 3, 4, 7])
def test_gradients_are_those_of_plain_autograd_in_the_trees_order(world):
    torch.manual_seed(0)
    model, batches = Convolutions(), micro_batches((2, 2, 4, 4))
    expected = plain(model, batches, V)
    for found in elastic(model, world, batches):
        assert_same(found, expected)


@pytest.mark.parametrize("empty", [{0}, {6}, {2, 5}, {0, 1, 2, 3, 4, 5}, {1, 2, 3, 4, 5, 6}])
@pytest.mark.parametrize("world", [1, 3])
def test_virtual_ranks_without_a_sample_are_leaves_of_zeros(world, empty):
    torch.manual_seed(1)
    model = Convolutions()
    batches = [None if v in empty else b for v, b in enumerate(micro_batches((2, 2, 4, 4)))]
    expected = plain(model, batches, 2.0)
    for found in elastic(model, world, batches, 2.0):
        assert_same(found, expected)


@pytest.mark.parametrize("world", [1, 3])
def test_a_parameter_that_no_pass_uses_gets_a_zero_gradient(world):
    torch.manual_seed(2)
    model, batches = Detour(), micro_batches((2, 3))
    expected = plain(model, batches, V)
    assert not expected["branch.weight"].any()
    for found in elastic(model, world, batches, unused_parameters=True):
        assert_same(found, expected)


@pytest.mark.parametrize("left_out", [0, V - 1])
def test_a_pass_that_leaves_out_a_parameter_is_refused_by_name(left_out):
    torch.manual_seed(3)
    model, batches = Detour(), micro_batches((2, 3))
    model.detour = True
    ddp = warmed_up(model, batches[0])
    ddp.join(connected(1)[0], [range(V)])

    def detour_but_once() -> None:
        for vrank in range(V):
            model.detour = vrank != left_out
            with ddp.passes(vrank):
                loss(ddp.module, batches[vrank]).backward()
        ddp.finish(V)

    with pytest.raises(RecipeError, match=r"parameter branch\.weight"):
        detour_but_once()


def test_a_wrapper_can_be_replaced_by_another_around_the_same_model():
    torch.manual_seed(4)
    model, batches = Detour(), micro_batches((2, 3))
    first = ElasticDDP(model)
    loss(first.module, batches[0]).backward()
    gone = ref(first.module)
    del first
    gc.collect()
    assert gone() is None
    model.zero_grad(set_to_none=True)
    assert_same(elastic(model, 1, batches, unused_parameters=True)[0], plain(model, batches, V))


def test_sparse_gradients_are_refused():
    ddp = ElasticDDP(nn.Embedding(5, 2, sparse=True))
    with pytest.raises(RecipeError, match="sparse"):
        ddp.module(torch.tensor([1, 2])).sum().backward()


def test_a_lost_peer_is_seen_as_such_through_the_backward_pass():
    exchanges = connected(2)
    model, batches = Detour(), micro_batches((2, 3))
    model.detour = True
    ddp = warmed_up(model, batches[0])
    ddp.join(exchanges[0], [[0], [1]])
    del exchanges[1]
    with pytest.raises(PeerLost):
        step(ddp, exchanges[0], [0], batches, 2.0)


def test_fast_mode_is_the_mean_over_samples_of_plain_accumulation():
    """One worker with loads of 3 and 1 samples: its mean must weigh them by their samples."""
    torch.manual_seed(5)
    model, generator = nn.Linear(3, 2), torch.Generator().manual_seed(1)
    parts = [torch.randn(3, 3, generator=generator), torch.randn(1, 3, generator=generator)]
    whole = copy.deepcopy(model)
    loss(whole, torch.cat(parts)).backward()
    ElasticDDP(nn.Linear(1, 1))  # makes the group of one that stock DDP lives in here
    fast = FastDDP(model, [0, 1], world=1, filler=lambda module: loss(module, parts[0]))
    for vrank, part in enumerate(parts):
        scale = fast.scale(len(part), 4, full=False)
        assert scale is not None
        with fast.passes(vrank):
            (loss(fast.module, part) * scale).backward()
    torch.testing.assert_close(model.weight.grad, whole.weight.grad)
    fast.skip(1)
    torch.testing.assert_close(model.weight.grad, whole.weight.grad)
