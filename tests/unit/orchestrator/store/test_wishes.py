"""What owners want is noted, told, and refused in words where it makes no sense."""

from __future__ import annotations

import pytest

from orchestrator.records.facts import JobState
from orchestrator.store.records import JobRecord
from orchestrator.store.states import ENDED, Intent
from orchestrator.store.wishes import wish
from tests.support.store_jobs import in_state, submission, submitted
from workers.errors import InputError


def record(state: JobState = JobState.RUNNING, intent: Intent = Intent.RUN) -> JobRecord:
    return JobRecord(
        id="0123456789", number=1, submission=submission(), state=state, version=1, submitted_at=0.0,
        min_workers=1, max_workers=4, intent=intent,
    )  # fmt: skip


@pytest.mark.parametrize("state", sorted(set(JobState) - ENDED))
@pytest.mark.parametrize("intent", [Intent.PAUSE, Intent.CANCEL])
def test_any_live_job_can_be_paused_and_cancelled(state, intent):
    changes, notes = wish(record(state), who="ann", intent=intent)
    assert changes == {"intent": intent}
    assert [(note.kind, note.cause, note.who) for note in notes] == [(intent.value, "user", "ann")]


@pytest.mark.parametrize("intent", [Intent.PAUSE, Intent.CANCEL])
def test_what_was_wished_for_already_changes_nothing(intent):
    assert wish(record(intent=intent), who="ann", intent=intent) == ({}, [])
    assert wish(record(), who="ann", min_workers=1, max_workers=4) == ({}, [])
    assert wish(record(JobState.CANCELLED), who="ann", intent=Intent.CANCEL) == ({}, [])


@pytest.mark.parametrize("state", [JobState.PAUSED, JobState.STOPPING, JobState.RUNNING, JobState.QUEUED])
def test_a_pause_can_be_taken_back_whether_or_not_it_has_begun(state):
    changes, (note,) = wish(record(state, Intent.PAUSE), who="ann", intent=Intent.RUN)
    assert changes == {"intent": Intent.RUN}
    assert note.kind == "resume"


def test_a_resume_that_is_on_its_way_changes_nothing():
    assert wish(record(JobState.PAUSED, Intent.RUN), who="ann", intent=Intent.RUN) == ({}, [])


@pytest.mark.parametrize("state", sorted(ENDED))
def test_of_a_job_that_is_over_nothing_can_be_wished(state):
    for wanted in ({"intent": Intent.RUN}, {"intent": Intent.PAUSE}, {"max_workers": 9}):
        with pytest.raises(InputError, match=rf"job toy \(0123456789\): it is over \({state}\)"):
            wish(record(state), who="ann", **wanted)
    if state is not JobState.CANCELLED:
        with pytest.raises(InputError, match="there is nothing to cancel"):
            wish(record(state), who="ann", intent=Intent.CANCEL)


@pytest.mark.parametrize(
    ("state", "intent", "wanted", "says"),
    [
        ("running", "cancel", {"intent": Intent.RUN}, "it is being cancelled"),
        ("running", "cancel", {"intent": Intent.PAUSE}, "it is being cancelled"),
        ("running", "cancel", {"max_workers": 2}, "it is being cancelled"),
        ("running", "run", {"intent": Intent.RUN}, "it is not paused but running"),
        ("running", "run", {"min_workers": 0}, "0 workers at least"),
        ("running", "run", {"min_workers": 5}, "5 workers at least and 4 at most"),
        ("running", "run", {"max_workers": 0}, "1 workers at least and 0 at most"),
    ],
)
def test_what_makes_no_sense_is_refused_in_words(state, intent, wanted, says):
    with pytest.raises(InputError, match=says) as told:
        wish(record(JobState(state), Intent(intent)), who="ann", **wanted)
    assert told.value.fix


def test_one_size_can_be_changed_without_the_other():
    changes, (note,) = wish(record(), who="ann", min_workers=3)
    assert changes == {"min_workers": 3, "max_workers": 4}
    assert (note.kind, note.data) == ("resize", changes)


def test_a_wish_is_written_with_its_event_and_moves_nothing(database):
    job = in_state(database, JobState.RUNNING)
    with database.transaction() as tx:
        wished = tx.jobs.wish("toy", who="bob", now=5.0, intent=Intent.PAUSE, max_workers=2)
        assert tx.jobs.wish("toy", who="bob", now=6.0, intent=Intent.PAUSE) == wished
    with database.reading() as tx:
        assert tx.jobs.get(job.id) == wished
        pause, resize = tx.events.latest(job.id, 2)
    assert (wished.state, wished.intent, wished.max_workers) == (JobState.RUNNING, Intent.PAUSE, 2)
    assert (wished.version, wished.last_change_at) == (job.version + 1, job.last_change_at)
    assert (pause.kind, pause.who, pause.time, pause.after) == ("pause", "bob", 5.0, None)
    assert resize.data == {"min_workers": 1, "max_workers": 2}


def test_a_wish_that_is_refused_leaves_no_trace(database):
    job = submitted(database)
    with pytest.raises(InputError), database.transaction() as tx:
        tx.jobs.wish("toy", who="bob", now=5.0, intent=Intent.CANCEL, min_workers=9)
    with pytest.raises(InputError, match="no job 'tox'"), database.transaction() as tx:
        tx.jobs.wish("tox", who="bob", now=5.0, intent=Intent.CANCEL)
    with database.reading() as tx:
        assert tx.jobs.get("toy") == job
        assert len(tx.events.after(0)) == 1
