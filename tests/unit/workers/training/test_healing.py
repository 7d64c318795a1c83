"""The furthest state reaches every member, bit for bit; who is further on is never taken back."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from tests.support.groups import Breaking, connected, in_threads
from tests.support.local_run import CPU
from workers import Recipe
from workers.numerics.exchange import Exchange, PeerLost
from workers.training import healing
from workers.training.healing import Agreement, Held, agree, decide, heal
from workers.training.replica import Replica

NOTHING = (-1, -1)


@st.composite
def rows(draw: st.DrawFn) -> list[tuple[int, int]]:
    """What each member holds: a step, and the last one that it evaluated."""
    found = []
    for _ in range(draw(st.integers(1, 6))):
        step = draw(st.integers(-1, 5))
        found.append((step, draw(st.integers(-1, step))))
    return found


@given(rows())
def test_the_furthest_gives_and_all_that_are_behind_take(members):
    agreement = decide(members)
    furthest = max(step for step, _ in members)
    if furthest < 0:
        assert agreement == Agreement(source=None, behind=(), held=Held(None))
        return
    assert agreement.source is not None
    assert members[agreement.source][0] == furthest
    assert agreement.behind == tuple(rank for rank, (step, _) in enumerate(members) if step < furthest)
    assert agreement.source not in agreement.behind
    evaluated = max(evaluated for step, evaluated in members if step == furthest)
    assert agreement.held == Held(furthest, evaluated if evaluated >= 0 else None)


@given(rows(), st.randoms(use_true_random=False))
def test_what_is_held_in_the_end_does_not_depend_on_the_order_of_the_members(members, random):
    shuffled = random.sample(members, len(members))
    assert decide(shuffled).held == decide(members).held


@pytest.mark.parametrize(
    ("members", "source", "behind"),
    [
        ([(41, 20), (42, 20), (42, 20)], 1, (0,)),
        ([(42, 40), NOTHING, (42, 40)], 0, (1,)),
        ([(42, -1), (42, 42)], 1, ()),
        ([(0, -1), NOTHING], 0, (1,)),
        ([NOTHING, NOTHING], None, ()),
    ],
)
def test_some_meetings(members, source, behind):
    agreement = decide(members)
    assert (agreement.source, agreement.behind) == (source, behind)


class Toy(Recipe):
    """BatchNorm, AdamW, a schedule, state of its own, and a tensor without elements."""

    def build_model(self) -> nn.Module:
        self.average = torch.zeros((), dtype=torch.float64)
        model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(12, 1))
        model.register_buffer("nothing", torch.empty(0))
        return model

    def build_optimizer(self, model: nn.Module) -> torch.optim.Optimizer:
        return torch.optim.AdamW(model.parameters(), lr=0.1)

    def build_schedule(self, optimizer: torch.optim.Optimizer) -> Any:
        return torch.optim.lr_scheduler.StepLR(optimizer, 2, gamma=0.5)

    def extra_state(self) -> dict[str, Tensor]:
        return {"average": self.average}


def replica(steps: int) -> Replica:
    return train(Replica(Toy(), 0, CPU), steps)


def train(one: Replica, steps: int) -> Replica:
    for _ in range(steps):
        batch = torch.randn(4, 2, 4, 4, generator=torch.Generator().manual_seed(one.step))
        one.model(batch).square().mean().backward()
        one.optimizer.step()
        one.model.zero_grad(set_to_none=True)
        one.schedule.step()
        one.recipe.average += 1.5
        one.step += 1
    return one


def met(exchange: Exchange, one: Replica, held: Held) -> tuple[Agreement, bool]:
    agreement = agree(exchange, held)
    return agreement, heal(exchange, one, agreement)


def meet(replicas: list[Replica], fresh: set[int]) -> list[tuple[Agreement, bool]]:
    """All members at once; the fresh ones hold a state that does not count."""
    calls = [
        lambda e=e, one=one: met(e, one, Held(None if e.rank in fresh else one.step, None))
        for e, one in zip(connected(len(replicas)), replicas, strict=True)
    ]
    return in_threads(calls)


@pytest.mark.parametrize("batch_bytes", [2**26, 100])
@pytest.mark.parametrize(
    ("steps", "fresh"), [([2, 3, 3], set()), ([3, 2, 0], {2}), ([0, 0, 5], {0, 1}), ([0, 1, 0], {0})]
)
def test_the_furthest_state_reaches_everybody_bit_for_bit(monkeypatch, steps, fresh, batch_bytes):
    monkeypatch.setattr(healing, "_BATCH_BYTES", batch_bytes)
    replicas = [replica(n) for n in steps]
    expected = replica(max(steps))
    found = meet(replicas, fresh)
    agreements = [agreement for agreement, _ in found]
    assert agreements == [agreements[0]] * 3, "all know the same"
    assert agreements[0].held == Held(max(steps), None)
    behind = [rank for rank, (_, healed) in enumerate(found) if healed]
    assert behind == [rank for rank, n in enumerate(steps) if n < max(steps) or rank in fresh]
    for each in (0, 1):
        assert {one.digest() for one in replicas} == {expected.digest()}
        assert [one.step for one in replicas] == [expected.step] * 3
        assert [one.scalars() for one in replicas] == [expected.scalars()] * 3
        if not each:
            for one in [*replicas, expected]:
                train(one, 2)


def test_where_nobody_holds_a_state_nothing_is_sent():
    replicas = [replica(0) for _ in range(3)]
    found = meet(replicas, {0, 1, 2})
    assert found == [(Agreement(source=None, behind=(), held=Held(None)), False)] * 3


def test_where_all_are_equally_far_nothing_is_sent():
    replicas = [replica(2) for _ in range(3)]
    assert [healed for _, healed in meet(replicas, set())] == [False] * 3


def test_who_is_alone_agrees_with_itself():
    one = replica(2)
    assert met(connected(1)[0], one, Held(2, 1)) == (
        Agreement(source=0, behind=(), held=Held(2, 1)),
        False,
    )


@pytest.mark.parametrize("after", range(6))
@pytest.mark.parametrize("cut", [0, 1])
def test_a_state_that_does_not_arrive_whole_is_not_taken_over(monkeypatch, after, cut):
    """One agreement, then length, description and at least three batches."""
    monkeypatch.setattr(healing, "_BATCH_BYTES", 300)
    replicas = [replica(3), replica(1)]
    before = [one.digest() for one in replicas]

    exchanges: list[Exchange] = connected(2)
    exchanges[cut] = Breaking(exchanges[cut], after)

    def member(one: Replica, exchange: Exchange) -> bool | None:
        try:
            return met(exchange, one, Held(one.step, None))[1]
        except PeerLost:
            for each in exchanges:  # as a supervisor would have it
                each.abort()
            return None

    found = in_threads([lambda e=e, r=r: member(r, e) for r, e in zip(replicas, exchanges, strict=True)])
    assert found[cut] is None
    assert replicas[0].digest() == before[0]
    if found[1] is None:
        assert (replicas[1].digest(), replicas[1].step) == (before[1], 1)
    else:
        assert (replicas[1].digest(), replicas[1].step) == (before[0], 3)
