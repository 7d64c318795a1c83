from __future__ import annotations

import io
import os
import pty
import sys
import threading
from contextlib import suppress

import pytest

from orchestrator.cli.console import Console
from orchestrator.records.scoreboard import Scoreboard
from orchestrator.records.status import JobView
from orchestrator.records.steplog import EventEntry, Kind, StepEntry
from tests.support.events import FakeWorker, train_job
from tests.support.replay import STEPS, play, story
from workers.protocol import Activity

LOST = EventEntry(
    time=0.0, kind=Kind.WORKER_LOST, step=7, worker="w1", cause="died", reason="killed by signal 9"
)


class Clock:
    """Seconds that the test turns."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def view() -> JobView:
    """A job in its 100th of 300 steps, 2 steps a second, 10 % of the time waiting for data."""
    board, worker = Scoreboard(train_job(name="demo"), 0.0), FakeWorker()
    board.observe(worker.ready(), 0.0)
    board.observe(worker.formed(), 0.0)
    for step in range(1, 101):
        worker.spend(Activity.DATA_WAIT, 0.05).spend(Activity.PRODUCTIVE, 0.45)
        board.observe(worker.step_done(step, loss=1.23456789), worker.now)
    return board.view(worker.now)


class Terminal:
    """A real terminal: `file` is its screen; once left, `shown` is all that was written to it."""

    def __enter__(self) -> Terminal:
        self._reader, writer = pty.openpty()
        self.file = os.fdopen(writer, "w", encoding="utf-8")
        self._chunks: list[bytes] = []
        self._thread = threading.Thread(target=self._read)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()
        self._thread.join()
        os.close(self._reader)
        self.shown = b"".join(self._chunks).decode()

    def _read(self) -> None:
        with suppress(OSError):  # how Linux says that the other side is closed
            while chunk := os.read(self._reader, 4096):
                self._chunks.append(chunk)


@pytest.fixture(autouse=True)
def _capable_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")


def test_without_a_terminal_there_are_plain_lines() -> None:
    file, clock = io.StringIO(), Clock()
    console = Console(view, file=file, clock=clock)
    clock.now = 5.0
    console.update()
    console.event(LOST)
    console.close()
    shown, lost = file.getvalue().splitlines()
    assert shown == (
        "demo  step 100/300 (33%)  epoch 0  loss 1.2346  128 samples/s  data wait 10.0 %  1:40 min left"
    )
    assert lost.endswith("✘ step 7: w1 lost: killed by signal 9")
    assert "\x1b" not in file.getvalue()


def test_before_the_first_step_the_line_says_what_the_workers_do() -> None:
    board, file, clock = Scoreboard(train_job(name="demo"), 0.0), io.StringIO(), Clock()
    board.queued(["w0", "w1"], 0.0)
    board.placed(["w0"], 1.0)
    console = Console(lambda: board.view(3.0), file=file, clock=clock, every=0.0)
    console.update()
    assert file.getvalue() == "demo  starting  2 workers: 1 starting, 1 queued  3 s\n"


@pytest.mark.parametrize("on_terminal", [True, False])
def test_the_job_is_only_looked_at_when_a_refresh_is_due(on_terminal: bool) -> None:
    looks: list[float] = []
    clock, job = Clock(), view()

    def look() -> JobView:
        looks.append(clock.now)
        return job

    with Terminal() as terminal:
        console = Console(look, file=terminal.file if on_terminal else io.StringIO(), clock=clock)
        for step in range(1000):  # ten seconds, a hundred steps a second
            clock.now = step / 100
            console.event(StepEntry(step=step, epoch=0, samples=step, loss=1.0, values={}))
            console.update()
        console.close()
    assert len(looks) == (20 if on_terminal else 1)


def test_on_a_terminal_there_is_a_panel_and_it_goes_away() -> None:
    with Terminal() as terminal:
        console = Console(view, file=terminal.file)
        console.update()
        console.event(LOST)
        console.close()
        console.close()
    shown = terminal.shown
    assert "step 100" in shown
    assert "w1 lost: killed by signal 9" in shown
    assert shown.rindex("\x1b[2K") > shown.rindex("╰")  # erased after it was last drawn
    assert "\x1b[?25h" in shown  # the cursor is back


def test_a_dumb_terminal_gets_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    with Terminal() as terminal:
        console = Console(view, file=terminal.file, every=0.0)
        console.update()
        console.close()
    assert "step 100/300" in terminal.shown
    assert "\x1b" not in terminal.shown


def test_a_redirected_stdout_is_left_alone(capsys: pytest.CaptureFixture[str]) -> None:
    with Terminal() as terminal:
        console = Console(view, file=terminal.file)
        console.update()
        print('{"job": "demo"}', file=sys.stdout)
        console.close()
    assert capsys.readouterr().out == '{"job": "demo"}\n'


def test_many_workers_are_summed_up() -> None:
    board = Scoreboard(train_job(), 0.0)
    board.queued([f"w{i}" for i in range(64)], 0.0)
    with Terminal() as terminal:
        console = Console(lambda: board.view(1.0), file=terminal.file)
        console.update()
        console.close()
    shown = terminal.shown
    assert "w7" in shown
    assert "w8" not in shown
    assert "and 56 workers: 56 queued" in shown


def test_a_whole_job_is_told_without_a_line_per_step() -> None:
    file = io.StringIO()
    board = Scoreboard(train_job(steps=STEPS), 0.0)
    console = Console(lambda: board.view(0.0), file=file)
    play(board, console.event, story(1.0), lambda now: now)
    console.close()
    lines = [line.split(" ", 2)[2] for line in file.getvalue().splitlines()]
    assert "step 100: evaluated: bits_per_byte 2.73576" in lines
    assert "step 50: checkpoint: file:///tmp/runs/pydoc-text" in lines
    assert lines[-1] == "step 300: done"
    assert len(lines) == 2 + 2 + 1 + 3 + 6 + 1
