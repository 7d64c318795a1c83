"""What happens to a job is on its scoreboard and in its history, in order."""

from __future__ import annotations

import time

import pytest

from orchestrator.gang.commands import Announce, Commit, Dismiss, Form, Hire, Hold, Recall
from orchestrator.gang.events import Committed, Drain, Interrupted, Pause, Recalled, Resize, Resume, Tick
from orchestrator.gang.states import Outcome
from orchestrator.records.bookkeeper import Bookkeeper
from orchestrator.records.facts import JobState
from orchestrator.records.scoreboard import Scoreboard
from orchestrator.records.steplog import Entry, EventEntry, Kind, StepEntry
from orchestrator.records.timeline import Timeline
from tests.support.events import FakeWorker, train_job
from workers.checkpoint.policy import Best
from workers.protocol import Activity, Fault, Membership, Memory, Placed, Stacks, StandsBy
from workers.protocol import Hold as HoldOrder

IDS = ("a", "b")


class Books:
    """A bookkeeper with two sinks, and workers whose clocks began now."""

    def __init__(self, keep_best: Best | None = None) -> None:
        began = time.time()
        self.board = Scoreboard(train_job(), began)
        self.entries: list[Entry] = []
        self.again: list[Entry] = []
        self.timeline = Timeline(began)
        self.keeper = Bookkeeper(
            self.board,
            self.timeline,
            [self.entries.append, self.again.append],
            "file:///runs/toy",
            keep_best,
        )
        self.workers = [FakeWorker(id, began) for id in IDS]

    def formed(self) -> None:
        self.keeper.happened(Hire(workers=IDS))
        self.keeper.happened(Placed(workers=IDS))
        for worker in self.workers:
            self.keeper.happened(worker.ready())
        membership = Membership(generation=0, workers=IDS, hosted=((0, 1, 2, 3), (4, 5, 6, 7)), store="-")
        self.keeper.happened(Form(membership=membership))
        for worker in self.workers:
            self.keeper.happened(worker.formed())

    def last(self) -> EventEntry:
        entry = self.entries[-1]
        assert isinstance(entry, EventEntry)
        return entry


def test_every_sink_gets_every_entry_and_a_step_counts_when_all_workers_made_it():
    books = Books()
    books.formed()
    for worker in books.workers:
        books.keeper.happened(worker.step_done(1))
    books.keeper.happened(Committed(step=1))
    books.keeper.ended(Outcome(done=True))
    assert books.entries == books.again
    assert sum(isinstance(entry, StepEntry) for entry in books.entries) == 1
    view = books.board.view(time.time())
    assert (view.status.state, view.status.step) == (JobState.DONE, 1)
    assert view.status.checkpoint is not None
    assert (view.status.checkpoint.uri, view.status.checkpoint.step) == ("file:///runs/toy", 1)


def test_the_start_is_over_when_the_first_worker_is_connected():
    books = Books()
    books.formed()
    assert list(books.timeline.phases) == ["placement", "workers start"]
    books.keeper.happened(Placed(workers=("b",)))
    books.keeper.happened(books.workers[0].formed(generation=1))
    assert list(books.board.status.startup) == ["placement", "workers start"], "what comes later is no start"


def test_what_a_new_supervisor_hears_from_the_workers_it_found_is_told_in_the_order_of_time():
    books, (a, b) = Books(), [FakeWorker(id, 1000.0) for id in IDS]
    membership = Membership(generation=2, workers=IDS, hosted=((0, 1, 2, 3), (4, 5, 6, 7)), store="-")
    first = [(worker.ready(), worker.formed(2, 7)) for worker in (a, b)]
    steps = [worker.spend(Activity.PRODUCTIVE, 1.0).step_done(8, generation=2) for worker in (a, b)]
    books.keeper.adopted(
        [
            Memory(worker=worker.id, membership=membership, hold=None, events=(*events, step), position=3)
            for worker, events, step in zip((a, b), first, steps, strict=True)
        ]
    )
    status = books.board.status
    assert (status.state, status.step, status.generations) == (JobState.RUNNING, 8, 3)
    assert status.workers["b"].vranks == (4, 5, 6, 7)
    assert books.timeline.phases == {}, "this is no start"
    kinds = [entry.kind for entry in books.entries if isinstance(entry, EventEntry)]
    assert kinds == [Kind.NOTE, Kind.READY, Kind.READY]
    assert sum(isinstance(entry, StepEntry) for entry in books.entries) == 1


def test_a_note_is_told_as_it_is():
    books = Books()
    books.keeper.note("no checkpoint yet")
    assert [(e.kind, e.reason) for e in books.entries if isinstance(e, EventEntry)] == [
        (Kind.NOTE, "no checkpoint yet")
    ]


def test_a_death_is_told_with_its_cause():
    books = Books()
    books.formed()
    books.keeper.happened(books.workers[1].lost("SIGKILL", Fault.NODE))
    last = books.last()
    assert (last.kind, last.worker, last.cause, last.reason) == (Kind.WORKER_LOST, "b", "node", "SIGKILL")


def hold(why: str) -> Hold:
    return Hold(order=HoldOrder(generation=0), workers=IDS, why=why)


FORM = Form(
    membership=Membership(generation=1, workers=("b",), hosted=(tuple(range(8)),), store="-"), why="a gone"
)


@pytest.mark.parametrize(
    ("what", "kind", "cause", "reason"),
    [
        (hold("join"), Kind.HOLD, "join", "join"),
        (FORM, Kind.FORMED, None, "generation 1: 1 worker, 8 virtual ranks (a gone)"),
        (Dismiss(worker="b", why="shrink"), Kind.DISMISSED, None, "shrink"),
        (Dismiss(worker="b", why="silent", stacks=True), Kind.WORKER_LOST, "hang", "silent"),
        (Stacks(worker="b", text="File stuck.py"), Kind.STACKS, None, "File stuck.py"),
        (StandsBy(node="n1", pid=7), Kind.STANDS_BY, None, "process 7 on node n1"),
        (Recalled(step=50), Kind.NOTE, None, "no worker is left that holds the state; there is"),
        (Recalled(step=None), Kind.NOTE, None, "there is no checkpoint"),
        (Resize(workers=4), Kind.WISH, "resize", "4 workers"),
        (Drain(node="n1", seconds=30.0), Kind.WISH, "drain", "n1 within 30 s"),
        (Pause(), Kind.WISH, "pause", "pause"),
        (Resume(), Kind.WISH, "resume", "resume"),
    ],
    ids=lambda what: type(what).__name__,
)
def test_what_is_wanted_and_done_is_told_with_its_reason(what, kind, cause, reason):
    books = Books()
    books.formed()
    books.keeper.happened(what)
    last = books.last()
    assert (last.kind, last.cause) == (kind, cause)
    assert reason in (last.reason or "")


@pytest.mark.parametrize(
    "what", [Tick(), Recall(), Announce(step=5, workers=IDS), Commit(step=5, draft={}, chunks={})]
)
def test_what_is_only_between_machines_is_not_told(what):
    books = Books()
    books.formed()
    told = len(books.entries)
    books.keeper.happened(what)
    assert len(books.entries) == told


def test_a_job_that_is_asked_to_pause_is_shown_as_paused_until_it_goes_on():
    books = Books()
    books.formed()
    books.keeper.happened(hold("join"))
    assert books.board.status.state is JobState.RUNNING
    books.keeper.happened(hold("pause"))
    assert books.board.status.state is JobState.PAUSED
    books.keeper.happened(books.workers[0].formed(generation=1))
    assert books.board.status.state is JobState.RUNNING


def test_a_failed_job_ends_with_what_it_failed_of_and_a_stopped_one_without():
    books = Books()
    books.formed()
    outcome = Outcome(done=False, exit_code=1, fault=Fault.USER, message="no", trace="t", worker="a", step=3)
    books.keeper.ended(outcome)
    status = books.board.view(time.time()).status
    assert status.state is JobState.FAILED
    assert status.failure is not None
    assert (status.failure.worker, status.failure.message, status.failure.step) == ("a", "no", 3)
    books = Books()
    books.formed()
    books.keeper.happened(Interrupted())
    books.keeper.ended(Outcome(done=False, exit_code=130, message="interrupted"))
    status = books.board.view(time.time()).status
    assert (status.state, status.failure) == (JobState.CANCELLED, None)


def test_a_metric_that_evaluations_do_not_give_is_missed_at_once_and_said_once():
    books = Books(Best(metric="acc", mode="max"))
    books.formed()
    for worker in books.workers:
        books.keeper.happened(worker.evaluated(1, {"loss": 0.5, "accuracy": 0.9}))
    reasons = [entry.reason for entry in books.entries if entry.kind is Kind.NOTE]
    assert reasons == [
        "checkpoint.keep_best keeps nothing: there is no metric acc; there is accuracy, loss",
    ]


def test_a_metric_that_is_there_is_no_news():
    books = Books(Best(metric="loss", mode="min"))
    books.formed()
    for step, metrics in ((1, {"loss": 0.5}), (2, {})):
        books.keeper.happened(books.workers[0].evaluated(step, metrics))
    assert [entry for entry in books.entries if entry.kind is Kind.NOTE] == []
