"""The fixed tree: strings stand for numbers, concatenation for an addition whose order can be read."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workers.numerics.tree import (
    Accumulator,
    Node,
    dyadic_assignment,
    equal_loads,
    fold,
    fold_leaves,
    height,
    partial_nodes,
)

leaf_counts = st.integers(1, 70)


@st.composite
def shared(draw: st.DrawFn) -> tuple[int, int]:
    """V, and a W that it can be shared by."""
    leaves = draw(leaf_counts)
    return leaves, draw(st.integers(1, leaves))


@st.composite
def any_hosting(draw: st.DrawFn) -> tuple[int, list[list[int]]]:
    """V, and leaves by worker in any way at all: more than `dyadic_assignment` ever makes."""
    leaves = draw(leaf_counts)
    owners = draw(st.lists(st.integers(0, 5), min_size=leaves, max_size=leaves))
    return leaves, [[leaf for leaf in range(leaves) if owners[leaf] == worker] for worker in range(6)]


def together(left: str, right: str) -> str:
    return f"({left}{right})"


def name(leaf: int) -> str:
    return f"{leaf} "


def by_definition(first: int, size: int, leaves: int) -> str:
    """The sum below a node, as the module's first paragraph says it."""
    if size == 1:
        return name(first)
    left = by_definition(first, size // 2, leaves)
    if first + size // 2 >= leaves:
        return left  # the other child is padding
    return together(left, by_definition(first + size // 2, size // 2, leaves))


def accumulated(hosted: list[int], leaves: int) -> Accumulator[str]:
    held = Accumulator(hosted, leaves, together)
    for leaf in hosted:
        held.push(leaf, name(leaf))
    return held


@given(leaf_counts)
def test_folding_leaves_is_the_sum_over_the_padded_tree(leaves):
    assert fold_leaves([name(leaf) for leaf in range(leaves)], together) == by_definition(
        0, 2 ** height(leaves), leaves
    )


@given(any_hosting())
@settings(max_examples=150)
def test_the_order_of_summation_never_depends_on_who_hosts_which_leaf(case):
    leaves, hosting = case
    partials: dict[Node, str] = {}
    for hosted in hosting:
        partials |= accumulated(hosted, leaves)
    assert fold(partials, leaves, together) == fold_leaves([name(n) for n in range(leaves)], together)


@given(any_hosting())
def test_a_worker_holds_its_nodes_in_the_end_and_few_values_on_the_way(case):
    leaves, hosting = case
    for hosted in hosting:
        nodes = partial_nodes(hosted, leaves)
        held, most = Accumulator(hosted, leaves, together), 0
        for leaf in hosted:
            held.push(leaf, name(leaf))
            most = max(most, len(held))
        assert set(held) == set(nodes)
        assert most <= len(nodes) + height(leaves)
        below = [leaf for node in nodes for leaf in range(leaves) if leaf >> node.level == node.place]
        assert sorted(below) == hosted


@given(shared())
def test_loads_are_as_equal_as_can_be_and_cover_each_leaf_once(case):
    leaves, workers = case
    hosted = dyadic_assignment(leaves, workers)
    assert sorted(leaf for own in hosted for leaf in own) == list(range(leaves))
    loads = [len(own) for own in hosted]
    assert max(loads) - min(loads) <= 1
    assert all(list(own) == sorted(own) for own in hosted)


@given(shared())
def test_a_load_costs_as_many_partial_sums_as_it_has_binary_ones(case):
    leaves, workers = case
    for own in dyadic_assignment(leaves, workers):
        assert len(partial_nodes(own, leaves)) <= len(own).bit_count()


@st.composite
def any_loads(draw: st.DrawFn) -> tuple[int, list[int]]:
    """V, and how many of its leaves each worker gets, at least one."""
    loads = draw(st.lists(st.integers(1, 20), min_size=1, max_size=8))
    return sum(loads), loads


@given(any_loads())
def test_every_worker_gets_the_load_that_it_was_given_in_few_whole_subtrees(case):
    leaves, loads = case
    hosted = dyadic_assignment(leaves, len(loads), loads)
    assert [len(own) for own in hosted] == loads
    assert sorted(leaf for own in hosted for leaf in own) == list(range(leaves))
    for own in hosted:
        assert list(own) == sorted(own)
        assert len(partial_nodes(own, leaves)) <= len(own).bit_count()


@given(any_loads())
def test_the_sum_is_the_same_for_any_loads(case):
    leaves, loads = case
    partials: dict[Node, str] = {}
    for own in dyadic_assignment(leaves, len(loads), loads):
        partials |= accumulated(list(own), leaves)
    assert fold(partials, leaves, together) == fold_leaves([name(n) for n in range(leaves)], together)


@given(shared())
def test_without_loads_they_are_equal(case):
    leaves, workers = case
    loads = equal_loads(leaves, workers)
    assert sum(loads) == leaves
    assert dyadic_assignment(leaves, workers) == dyadic_assignment(leaves, workers, loads)


@pytest.mark.parametrize("loads", [[8], [4, 3], [4, 5], [8, 0], [9, -1], [3, 3, 2]])
def test_loads_that_are_not_those_of_these_workers_are_refused(loads):
    with pytest.raises(ValueError, match="do not go with loads"):
        dyadic_assignment(8, 2, loads)


def test_where_w_does_not_divide_v_loads_are_cut_into_powers_of_two_largest_first():
    assert dyadic_assignment(8, 3) == ((0, 1, 6), (2, 3, 7), (4, 5))
    assert dyadic_assignment(12, 5) == ((0, 1, 10), (2, 3, 11), (4, 5), (6, 7), (8, 9))


@pytest.mark.parametrize(("leaves", "workers"), [(4, 0), (4, 5), (1, 2)])
def test_more_workers_than_leaves_are_refused(leaves, workers):
    with pytest.raises(ValueError, match="cannot be shared"):
        dyadic_assignment(leaves, workers)


@pytest.mark.parametrize(
    "partials",
    [
        {},
        {Node(0, 0): "0"},
        {Node(0, 0): "0", Node(0, 1): "1"},
        {Node(1, 0): "01", Node(0, 1): "1", Node(0, 2): "2"},
        {Node(2, 0): "012", Node(0, 2): "2"},
    ],
)
def test_partials_that_do_not_cover_each_leaf_once_are_refused(partials):
    with pytest.raises(ValueError, match=r"do not cover|no sibling"):
        fold(partials, 3, together)
