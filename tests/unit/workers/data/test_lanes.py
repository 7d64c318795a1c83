"""Virtual ranks share a stream: each sample goes to one of them, and none is stuck with one source."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workers.data.lanes import Lanes
from workers.data.pattern import Pattern

LANES = st.builds(
    Lanes,
    pattern=st.lists(st.integers(1, 9), min_size=1, max_size=5).map(lambda w: Pattern(tuple(w))),
    vranks=st.integers(1, 12),
    seed=st.integers(0, 2**63),
)


@settings(max_examples=100, deadline=None)
@given(lanes=LANES, first=st.integers(0, 10**9))
def test_each_row_is_dealt_to_all_virtual_ranks_one_sample_each(lanes, first):
    rows = np.arange(first, first + 20)
    positions = np.stack([lanes.positions(vrank, rows) for vrank in range(lanes.vranks)])
    expected = np.arange(first * lanes.vranks, (first + 20) * lanes.vranks)
    assert sorted(positions.ravel().tolist()) == expected.tolist()
    assert (positions // lanes.vranks == rows).all()


@settings(max_examples=100, deadline=None)
@given(lanes=LANES, data=st.data())
def test_what_was_taken_is_what_dealing_up_to_there_gives(lanes, data):
    """Anywhere in the first rounds, and in the middle of a row."""
    V, rows = lanes.vranks, 3 * lanes.round_rows + 5
    position = data.draw(st.integers(0, rows * V - 1))
    dealt = np.stack([lanes.positions(vrank, np.arange(rows)) for vrank in range(V)])
    for source in range(len(lanes.pattern.weights)):
        of_source = lanes.pattern.sources[dealt % lanes.pattern.period] == source
        taken = (of_source & (dealt < position)).sum(axis=1)
        assert lanes.taken(source, position, np.arange(V)).tolist() == taken.tolist()
        vrank = data.draw(st.integers(0, V - 1))
        assert lanes.taken(source, position, np.array([vrank])).tolist() == [taken[vrank]]


@settings(max_examples=100, deadline=None)
@given(lanes=LANES, turns=st.integers(0, 10**9), place=st.integers(0, 10**6))
def test_after_v_rounds_all_have_taken_the_same_and_it_goes_on_as_before(lanes, turns, place):
    turn = lanes.round_rows * lanes.vranks**2  # samples of the stream
    for source, weight in enumerate(lanes.pattern.weights):
        each = turn // lanes.pattern.period * weight // lanes.vranks
        vranks = np.arange(lanes.vranks)
        assert lanes.taken(source, turn, vranks).tolist() == [each] * lanes.vranks
        begin = place % turn
        later = lanes.taken(source, turns * turn + begin, vranks)
        assert (later - turns * each == lanes.taken(source, begin, vranks)).all()


def test_there_is_no_virtual_rank_beyond_the_last():
    lanes = Lanes(pattern=Pattern((1, 1)), vranks=2, seed=0)
    with pytest.raises(IndexError, match=r"0\.\.1"):
        lanes.positions(2, np.arange(3))
