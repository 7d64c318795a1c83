from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.scripts.ledger import ScriptLedger
from workers.protocol import Activity


def test_each_second_is_in_one_category():
    ledger = ScriptLedger()
    ledger.begin(range(2), Activity.QUEUED, 10.0)
    ledger.begin_all(Activity.STARTUP, 12.0)
    ledger.begin([0], Activity.PRODUCTIVE, 13.0)
    ledger.only(1, 14.0)
    found = ledger.totals(20.0)
    assert found.elapsed == 10 + 4
    assert found.seconds[Activity.QUEUED] == 4
    assert found.seconds[Activity.STARTUP] == 1 + 2
    assert found.seconds[Activity.PRODUCTIVE] == 7


_steps = st.tuples(
    st.sets(st.integers(0, 4)), st.sampled_from(list(Activity)), st.integers(-3, 10), st.integers(0, 5)
)


@given(st.lists(_steps, max_size=30))
def test_the_categories_are_all_that_elapsed_and_nothing_ever_falls(steps):
    ledger, now, before = ScriptLedger(), 100.0, 0.0
    for ranks, activity, later, left in steps:
        now += later
        ledger.begin(ranks, activity, now)
        ledger.only(left, now)
        found = ledger.totals(now + 1)
        assert sum(found.seconds.values()) == found.elapsed
        assert found.elapsed >= before
        before = found.elapsed
