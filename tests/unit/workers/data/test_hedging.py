"""What is late is known from what is usual; second requests are few, whatever happens."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from workers.data.hedging import AT_ONCE, SHARE, Hedging

SIZE = 1 << 20
seconds = st.floats(0.0, 100.0)


@given(st.lists(st.booleans(), max_size=2000))
def test_second_requests_are_a_small_part_of_all_at_every_moment(begins):
    hedging, begun, allowed = Hedging(), 0, 0
    for begin in begins:
        if begin:
            hedging.begun()
            begun += 1
        else:
            allowed += hedging.allow()
        assert allowed <= SHARE * begun + 1e-6


def test_many_good_hours_do_not_allow_a_flood():
    hedging = Hedging()
    for _ in range(100_000):
        hedging.begun()
    assert sum(hedging.allow() for _ in range(1000)) == AT_ONCE


@settings(max_examples=50)
@given(st.lists(seconds, min_size=32, max_size=256))
def test_hardly_any_of_what_was_seen_was_late(took):
    hedging = Hedging()
    for one in took:
        hedging.took(SIZE, one)
    limit = hedging.late_after(SIZE)
    assert limit is not None
    assert limit >= 0.05
    assert sum(one > limit for one in took) <= 0.03 * len(took)


@given(st.lists(seconds, max_size=31), st.lists(seconds, min_size=32, max_size=40))
def test_nothing_is_late_as_long_as_nobody_knows_what_is_usual_for_its_size(few, of_other_size):
    hedging = Hedging()
    for one in of_other_size:
        hedging.took(4 * SIZE, one)
    for one in few:
        hedging.took(SIZE, one)
    assert hedging.late_after(SIZE) is None


def test_what_is_usual_follows_the_store():
    hedging = Hedging()
    for one in [0.1] * 300 + [3.0] * 256:
        hedging.took(SIZE, one)
    assert hedging.late_after(SIZE) == 6.0
