from __future__ import annotations

import threading

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.records.news import History
from orchestrator.records.steplog import EventEntry, Kind, LogEntry


def _entry(number: int, is_line: bool) -> EventEntry | LogEntry:
    if is_line:
        return LogEntry(time=number, worker="rank-0", stream="stdout", attempt=0, text=str(number))
    return EventEntry(time=number, kind=Kind.NOTE)


@given(st.lists(st.booleans(), max_size=40), st.integers(0, 45), st.integers(1, 10))
def test_everything_from_a_position_on_comes_in_order_but_for_old_lines(kinds, position, lines_max):
    history = History(lines_max=lines_max)
    for number, is_line in enumerate(kinds):
        history.add(_entry(number, is_line))
    entries, after = history.since(position, 0.0)
    assert after == len(kinds)
    lines = [number for number, is_line in enumerate(kinds) if is_line][-lines_max:]
    events = [number for number, is_line in enumerate(kinds) if not is_line]
    assert [entry.time for entry in entries] == [n for n in sorted(lines + events) if n >= position]


def test_who_waits_is_woken_by_what_happens_and_by_the_end():
    history = History()
    for wake in (lambda: history.add(_entry(0, False)), history.close):
        threading.Timer(0.05, wake).start()
        _, position = history.since(0 if wake is not history.close else 1, 60.0)
        assert position == 1
