"""What happens to a job is on its scoreboard and in its history, in order."""

from __future__ import annotations

import time

from orchestrator.bookkeeper import Bookkeeper
from orchestrator.facts import JobState
from orchestrator.gang.commands import Form
from orchestrator.gang.events import Committed, Interrupted, Lost
from orchestrator.gang.states import Outcome
from orchestrator.scoreboard import Scoreboard
from orchestrator.steplog import Entry, EventEntry, Kind, StepEntry
from orchestrator.timeline import Timeline
from tests.support.events import FakeWorker, train_job
from workers.protocol import Fault, Membership

IDS = ("a", "b")


class Books:
    """A bookkeeper with two sinks, and workers whose clocks began now."""

    def __init__(self) -> None:
        began = time.time()
        self.board = Scoreboard(train_job(), began)
        self.entries: list[Entry] = []
        self.again: list[Entry] = []
        self.timeline = Timeline(began)
        self.keeper = Bookkeeper(
            self.board, self.timeline, [self.entries.append, self.again.append], "file:///runs/toy"
        )
        self.workers = [FakeWorker(id, began) for id in IDS]

    def formed(self) -> None:
        self.keeper.queued(IDS)
        self.keeper.placed(IDS)
        for worker in self.workers:
            self.keeper.happened(worker.ready())
        membership = Membership(generation=0, workers=IDS, hosted=((0, 1, 2, 3), (4, 5, 6, 7)), store="-")
        self.keeper.happened(Form(membership=membership))
        for worker in self.workers:
            self.keeper.happened(worker.formed())

    def kinds(self) -> list[str]:
        return [entry.kind if isinstance(entry, EventEntry) else "step" for entry in self.entries]


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
    assert list(books.timeline.phases) == ["workers start"]


def test_a_note_is_told_as_it_is():
    books = Books()
    books.keeper.note("no checkpoint yet")
    assert [(e.kind, e.reason) for e in books.entries if isinstance(e, EventEntry)] == [
        (Kind.NOTE, "no checkpoint yet")
    ]


def test_a_death_is_told_with_its_cause():
    books = Books()
    books.formed()
    books.keeper.happened(Lost(worker="b", cause="SIGKILL"))
    last = books.entries[-1]
    assert isinstance(last, EventEntry)
    assert (last.worker, last.cause, last.reason) == ("b", "process_died", "SIGKILL")


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
