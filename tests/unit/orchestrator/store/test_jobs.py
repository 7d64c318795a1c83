"""Jobs are handed in once, found by id and by name, and moved only where the table says."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.records.facts import JobState
from orchestrator.store.jobs import Stale
from orchestrator.store.records import Note, QueueRecord
from orchestrator.store.states import ENDED, HOLDING, LEGAL, Illegal, Intent
from tests.support.store_jobs import ROUTES, in_state, moved, submission, submitted
from workers.errors import InputError


def test_a_job_that_was_handed_in_can_be_read_as_it_was(database):
    record = submitted(
        database,
        "toy",
        now=12.25,
        priority=-3,
        spec={"deep": [1, 2.5, None, {"ü": "ß"}]},
        bundle="ab",
        key="k",
    )
    assert (record.state, record.version, record.submitted_at) == (JobState.QUEUED, 1, 12.25)
    with database.reading() as tx:
        assert tx.jobs.get(record.id) == record == tx.jobs.get("toy")
        (event,) = tx.events.after(0)
    assert (event.job, event.kind, event.before, event.after) == (record.id, "submitted", None, "queued")
    assert (event.who, event.time) == ("ann", 12.25)


def test_the_same_key_of_the_same_user_leads_to_the_same_job(database):
    first = submitted(database, key="k")
    done = moved(database, first, *ROUTES[JobState.DONE])
    with database.transaction() as tx:
        assert tx.jobs.submit(submission(key="k"), 9.0) == (done, False)
        assert tx.jobs.submit(submission(key="k", user="bob"), 9.0)[1]
    with database.reading() as tx:
        assert sum(tx.jobs.count_by_state().values()) == 2


@pytest.mark.parametrize(
    "other",
    [{"name": "other"}, {"spec": {"another": 1}}, {"bundle": "cd"}],
    ids=lambda other: next(iter(other)),
)
def test_a_key_that_came_with_another_job_is_refused(database, other):
    submitted(database, key="k")
    with pytest.raises(InputError, match="this key came with another job: toy"), database.transaction() as tx:
        tx.jobs.submit(replace(submission(key="k"), **other), 2.0)


def test_a_live_job_keeps_its_name_and_an_ended_one_gives_it_away(database):
    first = submitted(database)
    with (
        pytest.raises(InputError, match=rf"named toy is queued already \({first.id}\)"),
        database.transaction() as tx,
    ):
        tx.jobs.submit(submission(), 2.0)
    moved(database, first, JobState.CANCELLED)
    second = submitted(database)
    assert second.number > first.number


def test_an_unknown_queue_and_impossible_sizes_are_refused(database):
    for wrong, says in (
        ({"queue": "defualt"}, "no queue 'defualt'; the nearest is default"),
        ({"min_workers": 0}, "0 workers at least and 4 at most"),
        ({"min_workers": 5}, "5 workers at least and 4 at most"),
    ):
        with pytest.raises(InputError, match=says), database.transaction() as tx:
            tx.jobs.submit(submission(**wrong), 2.0)
    with database.reading() as tx:
        assert tx.jobs.live() == tx.events.after(0) == []


def test_a_name_means_the_live_job_or_else_the_newest(database):
    old = in_state(database, JobState.DONE)
    new = in_state(database, JobState.FAILED)
    with database.reading() as tx:
        assert tx.jobs.get("toy") == new
    live = submitted(database)
    newest_of_another = submitted(database, "other")
    with database.reading() as tx:
        assert tx.jobs.get("toy") == live
        assert tx.jobs.get(old.id) == old
        assert tx.jobs.get("other") == newest_of_another


def test_a_misspelt_name_is_answered_with_the_nearest(database):
    submitted(database, "resnet-50")
    with (
        pytest.raises(InputError, match="no job 'resnet-05'; the nearest is resnet-50"),
        database.reading() as tx,
    ):
        tx.jobs.get("resnet-05")


@pytest.mark.parametrize("state", JobState)
def test_every_legal_move_is_made_and_told_and_every_other_one_raises_with_the_story(database, state):
    for after in JobState:
        record = in_state(database, state, f"{state}-{after}")
        if after in LEGAL[state]:
            result = moved(database, record, after, now=7.0)
            with database.reading() as tx:
                assert tx.jobs.get(record.id) == result
                event = tx.events.latest(record.id)[-1]
            assert (result.state, result.version, result.reason) == (after, record.version + 1, f"to {after}")
            assert (event.kind, event.before, event.after, event.reason) == (
                "state",
                state,
                after,
                f"to {after}",
            )
            assert (result.ended_at == 7.0) == (after in ENDED)
            assert (result.started_at == 7.0) == (after is JobState.RUNNING)
            assert result.last_change_at == 7.0
        else:
            with pytest.raises(Illegal, match=f"{record.id} cannot go from {state} to {after}") as told:
                moved(database, record, after)
            assert "submitted - -> queued (user, ann)" in str(told.value)
            with database.reading() as tx:
                assert tx.jobs.get(record.id) == record


def test_a_record_that_was_read_too_long_ago_moves_nothing(database):
    old = submitted(database)
    with database.transaction() as tx:
        new = tx.jobs.wish(old.id, who="ann", now=2.0, intent=Intent.CANCEL)
    for act in (
        lambda tx: tx.jobs.move(old, JobState.STARTING, now=3.0, cause="plan", reason="", who="scheduler"),
        lambda tx: tx.jobs.change(old, now=3.0, event=Note(kind="told"), attempt=7),
    ):
        with pytest.raises(Stale, match=old.id), database.transaction() as tx:
            act(tx)
    with database.reading() as tx:
        assert tx.jobs.get(old.id) == new
        assert [event.kind for event in tx.events.after(0)] == ["submitted", "cancel"]


def test_moves_and_changes_carry_what_else_changes(database):
    record = submitted(database)
    with database.transaction() as tx:
        started = tx.jobs.move(
            record,
            JobState.STARTING,
            now=2.0,
            cause="plan",
            reason="",
            who="scheduler",
            attempt=1,
            start="resume",
        )
        seen = tx.jobs.change(
            started, now=3.0, reason="placed", event=Note(kind="placed", data={"nodes": 2}),
            view={"step": 3}, attained_service=1.5, last_change_at=3.0, min_workers=2, max_workers=2,
        )  # fmt: skip
        assert tx.jobs.change(seen, now=4.0) is seen
    assert (seen.attempt, seen.submission.start, seen.view, seen.reason) == (
        1,
        "resume",
        {"step": 3},
        "placed",
    )
    assert (seen.version, seen.max_workers, seen.submission.max_workers) == (3, 2, 4)
    with database.reading() as tx:
        assert tx.jobs.get(record.id) == seen
        assert tx.events.after(0)[-1].data == {"nodes": 2}


def test_null_takes_back_what_was_said(database):
    record = in_state(database, JobState.RUNNING)
    with database.transaction() as tx:
        record = tx.jobs.change(record, now=3.0, view={"a": 1}, explain={"b": 1})
        record = tx.jobs.change(record, now=3.0, view=None, explain=None, started_at=None)
    with database.reading() as tx:
        assert tx.jobs.get(record.id) == record
    assert (record.view, record.explain, record.started_at) == (None, None, None)


def test_an_allocation_goes_with_the_state_that_holds_it(database):
    for after in LEGAL[JobState.STARTING] | LEGAL[JobState.STOPPING]:
        before = JobState.STARTING if after in LEGAL[JobState.STARTING] else JobState.STOPPING
        record = in_state(database, before, f"to-{after}")
        with database.transaction() as tx:
            tx.allocations.put(record.id, {"n1": 2})
        moved(database, record, after)
        with database.reading() as tx:
            assert bool(tx.allocations.of(record.id)) == (after in HOLDING)


def test_reasons_of_a_plan_reach_many_jobs_at_once(database):
    records = [submitted(database, f"j{i}") for i in range(3)]
    with database.transaction() as tx:
        tx.jobs.explain({})
        tx.jobs.explain({records[0].id: {"code": "quota"}, records[2].id: {"code": "room"}})
    with database.transaction() as tx:
        tx.jobs.explain({records[2].id: None})
    with database.reading() as tx:
        found = [tx.jobs.get(record.id) for record in records]
    assert [record.explain for record in found] == [{"code": "quota"}, None, None]
    assert [record.version for record in found] == [2, 1, 3]


def test_pages_go_from_the_newest_to_the_oldest_without_a_gap(database):
    with database.transaction() as tx:
        tx.queues.put(QueueRecord(id="night"))
    records = [
        submitted(database, f"j{i}", queue="night" if i % 2 else "default", user="bob" if i % 3 else "ann")
        for i in range(10)
    ]
    ended = {moved(database, records[i], JobState.FAILED).id for i in (1, 2, 3)}
    with database.reading() as tx:
        seen, before = [], None
        while page := tx.jobs.page(limit=3, before=before):
            seen += page
            before = page[-1].number
        assert [record.id for record in seen] == [record.id for record in reversed(records)]
        assert {record.id for record in tx.jobs.page(states={JobState.FAILED})} == ended
        assert {record.submission.queue for record in tx.jobs.page(queues=("night",))} == {"night"}
        assert [record.number for record in tx.jobs.page(user="ann")] == [
            records[i].number for i in (9, 6, 3, 0)
        ]
        assert tx.jobs.page(queues=()) == tx.jobs.page(states=()) == []
        assert tx.jobs.count_by_state() == {
            **dict.fromkeys(JobState, 0),
            JobState.QUEUED: 7,
            JobState.FAILED: 3,
        }
        assert [record.id for record in tx.jobs.live()] == [
            record.id for record in records if record.id not in ended
        ]


def test_only_what_has_changed_is_read_again(database):
    first, second = submitted(database, "a"), submitted(database, "b")
    with database.reading() as tx:
        seen, change = tx.jobs.changed_since(0)
        assert (seen, change) == ([first, second], tx.jobs.newest_change())
        assert tx.jobs.changed_since(change) == ([], change)
    first = moved(database, first, JobState.STARTING)
    third = submitted(database, "c")
    first = moved(database, first, JobState.RUNNING)
    with database.reading() as tx:
        assert tx.jobs.changed_since(change) == ([third, first], change + 3)
