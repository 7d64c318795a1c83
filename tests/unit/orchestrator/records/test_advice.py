"""The interval that is advised loses less than others."""

from __future__ import annotations

from math import exp, expm1

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from orchestrator.records.advice import DAY_SECONDS, advise, best_interval


def lost(interval: float, cost: float, between: float) -> float:
    """Expected time for one second of work, failures being a Poisson process (Daly 2006, equation 13)."""
    return between * exp(0.0) * expm1((interval + cost) / between) / interval


@given(cost=st.floats(1e-3, 600), between=st.floats(60, 1e7), other=st.floats(0.2, 5))
def test_no_other_interval_loses_noticeably_less(cost: float, between: float, other: float) -> None:
    assume(cost < between / 10)
    best = best_interval(cost, between)
    assert lost(best, cost, between) <= lost(other * best, cost, between) * 1.001


@pytest.mark.parametrize(("cost", "between", "interval"), [(10.0, 1.0, 1.0), (60.0, 86400.0, 3180.0)])
def test_known_values(cost: float, between: float, interval: float) -> None:
    assert best_interval(cost, between) == pytest.approx(interval, rel=0.01)


def test_what_was_not_seen_is_supposed_once_a_day_and_no_save_overtakes_another() -> None:
    calm = advise(stalled=0.01, took=100.0, elapsed=600.0, losses=0)
    assert (calm.interval, calm.between, calm.seen) == (100.0, DAY_SECONDS, False)
    assert advise(stalled=1.0, took=1.0, elapsed=7200.0, losses=2).between == 3600.0
    assert advise(stalled=1.0, took=1.0, elapsed=10 * DAY_SECONDS, losses=0).between == 10 * DAY_SECONDS
