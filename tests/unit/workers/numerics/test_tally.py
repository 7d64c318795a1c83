"""Logged numbers are folded in the tree's order in float64; the same on every worker for any W."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.groups import connected, in_threads
from workers.errors import RecipeError
from workers.numerics.exchange import Exchange
from workers.numerics.tally import Tally
from workers.numerics.tree import dyadic_assignment, fold_leaves

Result = tuple[float, dict[str, float]]


def tallied(
    exchange: Exchange, hosted: tuple[tuple[int, ...], ...], losses: list[float], weights: list[float]
) -> Result:
    tally = Tally(exchange, hosted, ("accuracy", "size"))
    result: Result
    for _ in range(2):
        for vrank in hosted[exchange.rank]:
            loss, weight = torch.tensor(losses[vrank], requires_grad=True), weights[vrank]
            if weight:
                tally.add(loss, {"size": vrank, "accuracy": loss * 2}, weight)
            else:
                tally.add_nothing()
        tally.send()
        result = tally.finish(sum(weights))
        exchange.flush()
    return result


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 5), st.integers(0, 6), st.randoms(use_true_random=False))
def test_every_worker_knows_the_same_weighted_means(world, more, random):
    vranks = world + more
    losses = [float(np.float32(random.uniform(-1, 1) * 10 ** random.randint(-6, 6))) for _ in range(vranks)]
    weights = [float(random.randint(0, 3)) for _ in range(vranks - 1)] + [1.0]
    hosted = dyadic_assignment(vranks, world)
    found = in_threads([lambda e=e: tallied(e, hosted, losses, weights) for e in connected(world)])
    loss = fold_leaves([a * w for a, w in zip(losses, weights, strict=True)], float.__add__) / sum(weights)
    size = fold_leaves([v * w for v, w in enumerate(weights)], float.__add__) / sum(weights)
    doubled = [float(np.float32(2) * np.float32(a)) * w for a, w in zip(losses, weights, strict=True)]
    accuracy = fold_leaves(doubled, float.__add__) / sum(weights)
    assert found == [(loss, {"accuracy": accuracy, "size": size})] * world


def told(exchange: Exchange, hosted: list[list[int]], signals: list[float]) -> list[tuple[float, ...]]:
    """What a member hears of these signals, each its own and a constant; then, in the next step, of none."""
    tally, heard = Tally(exchange, hosted, (), signals=2), []
    for signal in (signals[exchange.rank], None):
        for vrank in hosted[exchange.rank]:
            tally.add(torch.tensor(float(vrank)), {}, 1.0)
        tally.send() if signal is None else tally.send((signal, 3.0))
        assert tally.finish(4.0) == (1.5, {}), "a signal is no loss"
        heard.append(tally.signals)
    return heard


@pytest.mark.parametrize(
    ("signals", "highest"), [([0.0, 0.0, 0.0], 0.0), ([0.0, 1.0, 0.0], 1.0), ([2.0, 0.0, 1.0], 2.0)]
)
def test_all_workers_hear_in_the_same_step_the_most_that_any_of_them_has_to_say(signals, highest):
    hosted = [[0, 3], [1], [2]]
    heard = in_threads([lambda e=e: told(e, hosted, signals) for e in connected(3)])
    assert heard == [[(highest, 3.0), (0.0, 0.0)]] * 3


def test_who_is_alone_hears_itself():
    assert told(connected(1)[0], [[0, 1, 2, 3]], [1.0]) == [(1.0, 3.0), (0.0, 0.0)]


ONE = torch.tensor(1.0)


@pytest.mark.parametrize("values", [{}, {"b": ONE}, {"a": ONE, "b": ONE}])
def test_other_names_than_at_first_are_refused(values):
    with pytest.raises(RecipeError, match="at first \\['a'\\]"):
        Tally(connected(1)[0], [[0]], ["a"]).add(ONE, values, 1.0)


@pytest.mark.parametrize(
    ("value", "words"),
    [(torch.ones(2), r"Tensor of shape \(2,\) as value a"), ("x", "a str as value a"), (None, "NoneType")],
)
def test_values_that_are_not_numbers_are_refused(value, words):
    with pytest.raises(RecipeError, match=words):
        Tally(connected(1)[0], [[0]], ["a"]).add(ONE, {"a": value}, 1.0)


def test_numbers_of_any_kind_are_taken():
    tally = Tally(connected(1)[0], [[0]], ["a", "b", "c", "d", "e"])
    values = {"a": 1, "b": 0.5, "c": True, "d": np.float32(0.25), "e": torch.tensor([[3]])}
    tally.add(torch.ones(1, 1), values, 1.0)
    tally.send()
    assert tally.finish(1.0) == (1.0, {"a": 1.0, "b": 0.5, "c": 1.0, "d": 0.25, "e": 3.0})
