"""Every second is in exactly one activity."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers import telemetry
from workers.protocol import Activity
from workers.telemetry import Meter, Stopwatch

steps = st.lists(
    st.tuples(st.sampled_from(Activity), st.integers(0, 1000), st.booleans(), st.integers(0, 1000)),
    max_size=20,
)


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@given(steps)
def test_activities_sum_to_the_elapsed_time(story):
    clock = Clock()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(telemetry.time, "perf_counter", clock)
        watch, current, expected = Stopwatch(), Activity.STARTUP, dict.fromkeys(Activity, 0.0)
        for activity, inside, nested, outside in story:
            if nested:
                with watch.within(activity):
                    clock.now += inside
            else:
                watch.enter(activity)
                current = activity
                clock.now += inside
            clock.now += outside
            expected[activity] += inside
            expected[current] += outside
            assert sum(watch.totals().values()) == clock.now - 100.0
        totals = watch.totals()
    assert {a: s for a, s in totals.items() if s} == {a: s for a, s in expected.items() if s}


def test_the_activity_of_the_moment_is_told_with_the_time_since_it_was_entered():
    clock = Clock()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(telemetry.time, "perf_counter", clock)
        watch = Stopwatch()
        clock.now += 2
        watch.totals()  # looking at the sums is not entering anything
        clock.now += 1
        assert watch.current() == (Activity.STARTUP, 3.0)
        watch.enter(Activity.PRODUCTIVE)
        assert watch.current() == (Activity.PRODUCTIVE, 0.0)
        with watch.within(Activity.REDUCE_WAIT):
            clock.now += 4
            assert watch.current() == (Activity.REDUCE_WAIT, 4.0)
        assert watch.current() == (Activity.PRODUCTIVE, 0.0)


@pytest.mark.parametrize(("beyond", "moved"), [(0.0, 7.0), (5.0, 2.0), (7.0, 0.0), (100.0, 0.0)])
def test_seconds_that_turn_out_to_be_something_else_are_moved(beyond, moved):
    clock = Clock()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(telemetry.time, "perf_counter", clock)
        watch = Stopwatch(Activity.PRODUCTIVE)
        clock.now += 4
        watch.enter(Activity.REDONE)
        clock.now += 1
        watch.enter(Activity.PRODUCTIVE)
        clock.now += 3
        watch.rebook(Activity.PRODUCTIVE, Activity.REDONE, beyond=beyond)
        assert watch.totals() == {Activity.PRODUCTIVE: 7.0 - moved, Activity.REDONE: 1.0 + moved}
        watch.rebook(Activity.EVALUATION, Activity.REDONE, beyond=0.0)
        assert sum(watch.totals().values()) == 8.0
        assert watch.current() == (Activity.PRODUCTIVE, 3.0)


def test_an_error_inside_a_block_ends_it_too():
    watch = Stopwatch(Activity.PRODUCTIVE)
    with pytest.raises(ZeroDivisionError), watch.within(Activity.EVALUATION):
        raise ZeroDivisionError
    assert watch.enter(Activity.IDLE) is Activity.PRODUCTIVE


def test_a_meter_reads_this_process_and_not_too_often():
    meter = Meter(every=3600)
    usage = meter.read_if_due()
    assert usage is not None
    assert usage.cpu_seconds > 0
    assert usage.memory_bytes > 1_000_000
    assert (usage.gpu_utilisation, usage.gpu_memory_bytes) == (None, None)
    assert meter.read_if_due() is None
