"""How many virtual ranks each worker gets, by what one costs it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.gang.balance import gain, loads_for

COSTS = st.lists(st.one_of(st.none(), st.floats(0.001, 100.0)), min_size=1, max_size=8)


@pytest.mark.parametrize(
    ("costs", "virtual_ranks", "loads"),
    [
        ([None, None, None], 8, (3, 3, 2)),
        ([1.0, 1.2, 1.1], 8, (3, 3, 2)),  # noise
        ([1.0, 1.0, 3.0], 7, (3, 3, 1)),
        ([3.0, 1.0], 8, (2, 6)),
        ([1.0, None, 3.0], 8, (5, 2, 1)),  # unknown: an average one
        ([1.0, 1000.0], 8, (7, 1)),
        ([0.0, 0.0], 4, (2, 2)),
        ([5.0], 4, (4,)),
    ],
)
def test_the_slow_get_less(costs, virtual_ranks, loads):
    assert loads_for(costs, virtual_ranks) == loads


@given(costs=COSTS, more=st.integers(0, 24))
def test_every_virtual_rank_is_given_away_and_every_worker_gets_some(costs, more):
    loads = loads_for(costs, len(costs) + more)
    assert sum(loads) == len(costs) + more
    assert min(loads) >= 1


@given(costs=st.lists(st.floats(0.01, 10.0), min_size=1, max_size=4), more=st.integers(0, 4))
def test_no_other_loads_are_faster_where_speeds_differ_enough(costs, more):
    virtual_ranks = len(costs) + more
    if max(costs) < 1.3 * min(costs):
        return
    found = slowest(loads_for(costs, virtual_ranks), costs)
    assert found == pytest.approx(min(slowest(loads, costs) for loads in shares(virtual_ranks, len(costs))))


def test_what_would_be_won_is_a_part_of_the_step():
    assert gain((4, 4), (1.0, 1.0), 8) == 0.0
    assert gain((4, 4), (3.0, 1.0), 8) == pytest.approx(0.5)
    assert gain(loads_for((3.0, 1.0), 8), (3.0, 1.0), 8) == 0.0
    assert gain((4, 4), (0.0, 0.0), 8) == 0.0


def slowest(loads, costs):
    return max(load * cost for load, cost in zip(loads, costs, strict=True))


def shares(virtual_ranks, workers):
    if workers == 1:
        yield (virtual_ranks,)
        return
    for first in range(1, virtual_ranks - workers + 2):
        for rest in shares(virtual_ranks - first, workers - 1):
            yield (first, *rest)
