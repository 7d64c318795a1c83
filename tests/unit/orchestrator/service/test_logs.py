from __future__ import annotations

from orchestrator.records.steplog import LogEntry
from orchestrator.service.logs import JobLogs


def _line(text: str, rank: int = 0) -> LogEntry:
    return LogEntry(time=0.0, worker=f"rank-{rank}", stream="stdout", attempt=0, text=text)


def test_a_log_is_read_from_where_one_has_got_to(tmp_path):
    logs = JobLogs(tmp_path / "logs")
    assert logs.read("job", 0, 100) == b""
    logs.write("job", [_line("a"), _line("é", 1)])
    first = logs.read("job", 0, 100)
    assert first.decode() == "[rank-0] a\n[rank-1] é\n"
    logs.write("job", [_line("b")])
    assert logs.read("job", len(first), 100) == b"[rank-0] b\n"
    assert logs.read("job", len(first), 4) == b"[ran"
    assert logs.read("other", 0, 100) == b""


def test_a_log_that_is_full_says_so_once(tmp_path):
    logs = JobLogs(tmp_path, bytes_max=40)
    for number in range(10):
        logs.write("job", [_line(str(number))])
    text = logs.read("job", 0, 1000).decode()
    assert text.endswith("[rank-0] 3\n(the log is full: later lines are left out)\n")
    assert text.count("full") == 1


def test_a_folder_that_cannot_be_written_stops_nothing(tmp_path):
    (tmp_path / "file").touch()
    JobLogs(tmp_path / "file" / "logs").write("job", [_line("a")])
