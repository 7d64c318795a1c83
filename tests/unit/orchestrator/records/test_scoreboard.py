from __future__ import annotations

import pytest

from orchestrator.records.facts import Checkpoint, JobState, WorkerState
from orchestrator.records.scoreboard import Scoreboard
from orchestrator.records.steplog import Entry, EventEntry, Kind, StepEntry
from tests.support.events import FakeWorker, train_job
from tests.support.replay import STEPS, play, story
from workers.protocol import Activity


def told(**options: object) -> tuple[Scoreboard, list[Entry]]:
    """The replayed job, and all entries of it; time stands still but for the events'."""
    board, entries = Scoreboard(train_job(steps=STEPS), 0.0), []
    play(board, entries.append, story(1.0, **options), lambda now: now)  # type: ignore[arg-type]
    return board, entries


def test_each_committed_step_is_told_once_and_in_order() -> None:
    _, entries = told()
    steps = [entry.step for entry in entries if isinstance(entry, StepEntry)]
    assert steps == list(range(1, STEPS + 1))


def test_what_happened_is_told_once_and_not_once_per_worker() -> None:
    board, entries = told()
    events = [entry for entry in entries if isinstance(entry, EventEntry)]
    counts = {kind: sum(entry.kind is kind for entry in events) for kind in Kind}
    assert counts[Kind.EVALUATED] == 3
    assert counts[Kind.CHECKPOINT] == 6
    assert counts[Kind.READY] == 2
    assert events[-1].kind is Kind.ENDED
    assert board.status.state is JobState.DONE


def test_a_finished_job_has_a_ledger_that_stands_still_and_no_unexplained_second() -> None:
    board, _ = told(seconds_per_step=0.1)
    view = board.view(1e9)
    assert view == board.view(2e9)
    assert sum(view.goodput.seconds.values()) == pytest.approx(view.goodput.elapsed)
    assert view.goodput.elapsed == pytest.approx(2 * view.seconds)
    assert view.goodput.seconds[Activity.PRODUCTIVE] == pytest.approx(2 * STEPS * 0.082)
    assert view.goodput.seconds[Activity.IDLE] == pytest.approx(0.0, abs=1e-6)


def test_a_failed_job_tells_the_cause_and_keeps_only_its_checkpoint() -> None:
    board, entries = told(fail_at=60)
    assert [entry.worker for entry in entries if isinstance(entry, EventEntry) and entry.worker][-1] == "w1"
    view = board.view(0.0)
    assert view.status.state is JobState.FAILED
    assert view.goodput.seconds[Activity.PRODUCTIVE] == pytest.approx(2 * 50 * 0.041)
    assert view.goodput.seconds[Activity.REDONE] == pytest.approx(2 * 9 * 0.041)


def test_a_broken_promise_is_told_loudly() -> None:
    board, a, b = Scoreboard(train_job(), 0.0), FakeWorker("a"), FakeWorker("b")
    for event in (a.formed(), b.formed(), a.step_done(1, loss=0.5)):
        board.observe(event, 0.0)
    (entry,) = board.observe(b.step_done(1, loss=0.25), 0.0)
    assert isinstance(entry, EventEntry)
    assert (entry.kind, entry.worker, entry.cause) == (Kind.DISAGREEMENT, "b", "loss")


def test_who_took_the_state_over_from_another_worker_is_told() -> None:
    board, a, b = Scoreboard(train_job(), 0.0), FakeWorker("a"), FakeWorker("b")
    assert board.observe(a.formed(step=7), 0.0) == ()
    (entry,) = board.observe(b.formed(step=7, healed=True), 0.0)
    assert isinstance(entry, EventEntry)
    assert (entry.kind, entry.step, entry.worker, entry.cause) == (Kind.FORMED, 7, "b", "healed")


def test_a_lost_connection_is_told_with_the_step_that_it_broke_off() -> None:
    board = Scoreboard(train_job(), 0.0)
    (entry,) = board.observe(FakeWorker("a").broken(6), 0.0)
    assert isinstance(entry, EventEntry)
    assert (entry.kind, entry.step, entry.worker) == (Kind.BROKEN, 7, "a")
    assert entry.reason == "generation 0: connection closed"


def test_a_worker_that_was_let_go_is_told_and_is_gone() -> None:
    board = Scoreboard(train_job(), 0.0)
    board.queued(["a"], 0.0)
    (entry,) = board.dismissed("a", 1.0, reason="shrink")
    assert isinstance(entry, EventEntry)
    assert (entry.kind, entry.worker, entry.reason) == (Kind.DISMISSED, "a", "shrink")
    assert board.status.workers["a"].state is WorkerState.LOST


def test_a_job_that_goes_on_shows_the_checkpoint_that_it_goes_on_from() -> None:
    checkpoint = Checkpoint(uri="file:///runs/toy", step=50)
    assert Scoreboard(train_job(), 0.0, checkpoint).view(1.0).status.checkpoint == checkpoint


def test_a_loss_is_told_with_its_cause() -> None:
    board = Scoreboard(train_job(), 0.0)
    board.queued(["w0"], 0.0)
    (entry,) = board.lost("w0", 1.0, cause="died", reason="the process was killed")
    assert entry.to_json() == {
        "time": 1.0,
        "kind": "worker_lost",
        "step": 0,
        "worker": "w0",
        "cause": "died",
        "reason": "the process was killed",
    }
