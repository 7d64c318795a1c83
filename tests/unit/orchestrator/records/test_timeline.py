"""Phases lie end to end: their sum is the time since the process began."""

from __future__ import annotations

import pytest

from orchestrator.records import timeline
from orchestrator.records.timeline import Timeline


def test_all_time_belongs_to_a_phase(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([100.5, 101.0, 104.0, 104.25])
    monkeypatch.setattr(timeline.time, "time", lambda: next(times))
    line = Timeline(100.0)
    for phase in ("imports", "preparation", "ray start", "preparation"):
        line.mark(phase)
    assert line.phases == {"imports": 0.5, "preparation": 0.75, "ray start": 3.0}


def test_another_process_goes_on_where_the_one_before_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([101.0, 103.0, 104.0])
    monkeypatch.setattr(timeline.time, "time", lambda: next(times))
    first = Timeline(100.0)
    first.mark("imports")
    second = Timeline(first.since, first.phases)
    second.mark("supervisor start")
    second.mark("imports")
    assert second.phases == {"imports": 2.0, "supervisor start": 2.0}
    assert first.phases == {"imports": 1.0}, "they do not share what they count"
