from __future__ import annotations

import io
from dataclasses import replace

import pytest

from orchestrator.cli.report import print_report
from orchestrator.records.scoreboard import Scoreboard
from tests.support.events import FakeWorker, train_job
from tests.support.replay import STEPS, play, story


@pytest.fixture(autouse=True)
def _no_wishes_about_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FORCE_COLOR", raising=False)


def reported(board: Scoreboard) -> list[str]:
    """The report as it is written to a file."""
    file = io.StringIO()
    print_report(board.view(0.0), file)
    assert "\x1b" not in file.getvalue()
    return file.getvalue().splitlines()


def replayed(fail_at: int | None = None) -> list[str]:
    board = Scoreboard(train_job(name="pydoc-text", steps=STEPS), 0.0)
    play(board, lambda entry: None, story(0.0, fail_at=fail_at), lambda now: now)
    return reported(board)


def test_the_report_of_a_job_that_is_done_says_what_came_out() -> None:
    lines = replayed()
    assert lines[1] == "✔ pydoc-text done after 18 s: step 300 of 300, 2 workers"
    facts = dict(line.split(maxsplit=1) for line in lines[3:6])
    assert facts["loss"] == "2.0236"
    assert facts["bits_per_byte"] == "2.0996  (evaluated at step 300)"
    assert facts["throughput"].endswith("(mean step 50.0 ms)")
    assert f"  state digest    {'1f' * 32}" in lines
    assert "  checkpoint      file:///tmp/runs/pydoc-text  (step 300)" in lines
    assert "  metrics         http://127.0.0.1:9464/metrics  (while the job ran)" in lines


def test_the_seconds_of_the_report_sum_to_what_elapsed() -> None:
    lines = replayed()
    start = next(i for i, line in enumerate(lines) if "Where every second went" in line)
    assert lines[start].endswith("(36.6 s of 2 workers)")
    rows = lines[start + 1 : lines.index("", start)]
    seconds = [float(row.split()[1]) for row in rows]
    assert sum(seconds) == pytest.approx(36.64)
    assert seconds == sorted(seconds, reverse=True)
    assert rows[0].split()[:5] == ["productive", "24.60", "s", "67.1", "%"]


def test_the_start_is_the_drivers_phases_and_those_of_the_worker_are_inside() -> None:
    lines = replayed()
    start = next(i for i, line in enumerate(lines) if "Until training began" in line)
    assert lines[start].endswith("(6.0 s)")
    names = [line[2:22].rstrip() for line in lines[start + 1 : start + 8]]
    assert names == [
        "imports",
        "ray start",
        "placement",
        "workers start",
        "· import torch",
        "· build",
        "· warm up",
    ]


def test_the_report_of_a_failed_job_shows_the_users_traceback_and_the_last_good_checkpoint() -> None:
    lines = replayed(fail_at=177)
    assert lines[1].startswith("✘ pydoc-text failed after")
    assert '  File "recipe.py", line 31, in loss' in lines
    assert "  w1 failed in step 177 (user): user failure" in lines
    assert "  → the last good checkpoint is of step 150: continue from it with --resume" in lines


def test_a_failure_without_a_checkpoint_does_not_promise_one() -> None:
    lines = replayed(fail_at=20)
    assert "  → no checkpoint was saved: the next run starts from the beginning" in lines


def test_a_broken_promise_is_in_the_report() -> None:
    board, a, b = Scoreboard(train_job(), 0.0), FakeWorker("a"), FakeWorker("b")
    for event in (a.formed(), b.formed(), a.step_done(1, loss=0.5), b.step_done(1, loss=0.25)):
        board.observe(event, 0.0)
    assert "  BROKEN PROMISE  step 1: b reports loss 0.25, others 0.5" in reported(board)


def test_the_report_of_a_job_that_never_began_is_short_and_does_not_fail() -> None:
    lines = reported(Scoreboard(train_job(), 0.0))
    assert lines[1] == "· toy queued after 0 s: step 0 of 300, 0 workers"


def test_a_long_address_stays_on_one_line() -> None:
    board = Scoreboard(train_job(), 0.0)
    uri = "s3://bucket/" + "a-long-folder/" * 20
    board.checkpointed(uri, 5, 0.0)
    assert f"  checkpoint      {uri}  (step 5)" in reported(board)


def test_what_saving_costs_is_said_and_how_often_it_should_be_done() -> None:
    board, worker = Scoreboard(train_job(), 0.0), FakeWorker("a")
    board.observe(worker.formed(), 0.0)
    board.observe(replace(worker.saved(5), seconds=1.5, stalled_seconds=0.25), 1.0)
    board.checkpointed("file:///runs", 5, 1.0)
    [line] = [line for line in reported(board) if line.startswith("  saving")]
    assert line.endswith(
        "training stood still for 250.0 ms, durable after 1.50 s; "
        "one every 3:28 min loses least if all workers are lost once a day"
    )
