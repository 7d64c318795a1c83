"""A mixture's pattern: each source's share is exact in a period, and within one sample in every prefix."""

from __future__ import annotations

from fractions import Fraction
from math import gcd

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workers.data.pattern import PERIOD_MAX, Pattern, whole_weights

WEIGHTS = st.lists(st.integers(1, 60), min_size=1, max_size=8).map(tuple)


@settings(max_examples=200, deadline=None)
@given(weights=WEIGHTS)
def test_every_prefix_has_each_sources_share_to_within_one_sample(weights):
    pattern = Pattern(weights)
    lengths = np.arange(2 * pattern.period + 1)
    drawn = np.stack([pattern.drawn(source, lengths) for source in range(len(weights))])
    assert (drawn.sum(axis=0) == lengths).all()
    for source, weight in enumerate(weights):
        # |drawn - n w / P| < 1, in whole numbers
        assert (np.abs(drawn[source] * pattern.period - lengths * weight) < pattern.period).all()
        assert drawn[source, pattern.period] == weight


@settings(max_examples=100, deadline=None)
@given(weights=WEIGHTS, data=st.data())
def test_counts_and_positions_are_those_of_the_sequence_anywhere(weights, data):
    pattern = Pattern(weights)
    source = data.draw(st.integers(0, len(weights) - 1))
    draw = data.draw(st.integers(0, 10**12))
    position = pattern.position(source, draw)
    assert pattern.sources[position % pattern.period] == source
    assert pattern.drawn(source, np.array([position, position + 1])).tolist() == [draw, draw + 1]


@settings(max_examples=200, deadline=None)
@given(
    weights=st.lists(
        st.integers(1, 10**6) | st.floats(1e-6, 1e9, allow_subnormal=False), min_size=1, max_size=10
    )
)
def test_whole_weights_are_in_the_same_proportions_or_as_near_as_a_period_allows(weights):
    whole = whole_weights(weights)
    assert min(whole) >= 1
    assert gcd(*whole) == 1
    assert sum(whole) <= PERIOD_MAX
    exact = [Fraction(repr(weight)) / sum(Fraction(repr(w)) for w in weights) for weight in weights]
    errors = [abs(Fraction(part, sum(whole)) - share) for part, share in zip(whole, exact, strict=True)]
    assert max(errors) == 0 or max(errors) <= Fraction(len(weights) + 1, PERIOD_MAX)


@pytest.mark.parametrize(
    ("weights", "whole"),
    [
        ([1], (1,)),
        ([0.7, 0.2, 0.1], (7, 2, 1)),
        ([0.5, 0.5], (1, 1)),
        ([2.0, 6], (1, 3)),
        ([1e-4, 1.0], (1, 9999)),
        ([1e-9, 1.0], (1, 9999)),
        ([10**9, 2 * 10**9], (1, 2)),
    ],
)
def test_weights_are_what_is_written(weights, whole):
    assert whole_weights(weights) == whole


@pytest.mark.parametrize("weights", [[], [1, 0], [1, -1], [1.0] * (PERIOD_MAX + 1)])
def test_weights_that_are_none_are_refused(weights):
    with pytest.raises(ValueError, match="above 0"):
        whole_weights(weights)


def test_the_pattern_is_pinned_forever():
    assert Pattern((3, 2, 1)).sources.tolist() == [0, 1, 0, 1, 0, 2]
