from __future__ import annotations

from workers.script.mailbox import Mailbox
from workers.script.protocol import Exited, Line, Started


def _line(number: int) -> Line:
    return Line(rank=1, attempt=0, time=0.0, stream="stdout", text=str(number))


def test_reports_come_in_order_until_they_are_acknowledged():
    box = Mailbox(1, 0, 4)
    box.put(Started(rank=1, attempt=0, time=0.0, pid=5))
    box.put(_line(1))
    first = box.read(0, 0.0)
    assert [number for number, _ in first] == [1, 2]
    assert box.read(0, 0.0) == first
    box.put(_line(2))
    assert [(number, report.text) for number, report in box.read(2, 0.0)] == [(3, "2")]
    assert box.read(3, 0.0) == []


def test_too_many_lines_are_left_out_and_that_is_said_but_nothing_else_is():
    box = Mailbox(1, 0, 4, lines_max=3)
    box.put(Started(rank=1, attempt=0, time=0.0, pid=5))
    for number in range(10):
        box.put(_line(number))
    box.put(Exited(rank=1, attempt=0, time=0.0, code=0))
    reports = [report for _, report in box.read(0, 0.0)]
    assert "(7 lines were left out here" in reports[0].text
    assert [getattr(report, "text", type(report).__name__) for report in reports[1:]] == [
        "Started",
        "7",
        "8",
        "9",
        "Exited",
    ]
    assert box.read(12, 0.0) == []


def test_all_but_lines_is_remembered():
    box = Mailbox(1, 7, 4)
    box.put(Started(rank=1, attempt=7, time=0.0, pid=5))
    box.put(_line(1))
    box.read(2, 0.0)
    memory = box.remember()
    assert (memory.rank, memory.attempt, memory.ranks, memory.position) == (1, 7, 4, 2)
    assert [type(report) for report in memory.reports] == [Started]
