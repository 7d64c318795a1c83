"""What jobs write, kept through restarts of the server."""

from __future__ import annotations

from pathlib import Path

from orchestrator.records.steplog import LogEntry
from orchestrator.service.executor import Heard
from orchestrator.service.logs import JobLogs


def line(text: str) -> LogEntry:
    """One line of rank 0."""
    return LogEntry(time=1.0, worker="rank-0", stream="stdout", attempt=0, text=text)


def at(position: int, incarnation: str = "a") -> Heard:
    """So far."""
    return Heard(incarnation=incarnation, position=position)


def test_what_was_written_is_read_from_any_offset(tmp_path: Path) -> None:
    logs = JobLogs(tmp_path)
    assert logs.read("j", 0, 100) == b""
    logs.append("j", [line("one"), line("two")], at(2))
    logs.append("j", [], at(3))
    assert logs.read("j", 0, 100) == b"[rank-0] one\n[rank-0] two\n"
    assert logs.read("j", 13, 8) == b"[rank-0]"


def test_a_server_that_comes_back_hears_again_what_is_not_in_the_database(tmp_path: Path) -> None:
    JobLogs(tmp_path).append("j", [line("one")], at(1))
    JobLogs(tmp_path).append("j", [line("two")], at(2))
    logs = JobLogs(tmp_path)
    logs.rewind("j", at(1))
    logs.append("j", [line("two")], at(2))
    assert logs.read("j", 0, 100) == b"[rank-0] one\n[rank-0] two\n"


def test_what_an_earlier_supervisor_told_stays(tmp_path: Path) -> None:
    logs = JobLogs(tmp_path)
    logs.append("j", [line("before")], at(9, "a"))
    logs.append("j", [line("after")], at(1, "b"))
    logs.rewind("j", at(0, "b"))
    assert logs.read("j", 0, 100) == b"[rank-0] before\n"


def test_an_index_that_was_cut_short_costs_only_its_last_line(tmp_path: Path) -> None:
    logs = JobLogs(tmp_path)
    logs.append("j", [line("one")], at(1))
    with (tmp_path / "j.index").open("a") as index:
        index.write('["a", 2')
    with (tmp_path / "j.log").open("a") as file:
        file.write("half a li")
    logs.rewind("j", at(1))
    assert logs.read("j", 0, 100) == b"[rank-0] one\n"


def test_a_log_that_is_full_says_so_and_grows_no_further(tmp_path: Path) -> None:
    logs = JobLogs(tmp_path, bytes_max=20)
    for position in range(1, 5):
        logs.append("j", [line("one")], at(position))
    text = logs.read("j", 0, 1000).decode()
    assert text == "[rank-0] one\n[rank-0] one\n(the log is full: later lines are left out)\n"


def test_a_disk_that_takes_nothing_stops_nobody(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    logs = JobLogs(tmp_path / "file" / "logs")
    logs.append("j", [line("one")], at(1))
    assert not (tmp_path / "file").is_dir()
