"""Events are told in order, of all jobs or of one, from any number on."""

from __future__ import annotations

from orchestrator.records.facts import JobState
from orchestrator.store.records import Note
from tests.support.store_jobs import in_state, submitted


def test_a_follower_reads_on_from_where_it_was(database):
    a, b = submitted(database, "a"), submitted(database, "b")
    with database.transaction() as tx:
        numbers = [
            tx.events.add(job.id, Note(kind="told", data={"i": i}), now=float(i))
            for i, job in enumerate([a, b, a])
        ]
        tx.events.add_all([(b.id, Note(kind="more"), 8.0), (a.id, Note(kind="more", who="supervisor"), 9.0)])
        tx.events.add_all([])
    with database.reading() as tx:
        everything = tx.events.after(0)
        assert [event.number for event in everything] == sorted(event.number for event in everything)
        assert [(event.job, event.kind) for event in everything[2:]] == [
            (a.id, "told"), (b.id, "told"), (a.id, "told"), (b.id, "more"), (a.id, "more"),
        ]  # fmt: skip
        assert tx.events.after(numbers[0]) == everything[3:]
        assert tx.events.after(0, limit=2) == everything[:2]
        assert [event.data for event in tx.events.after(0, job=a.id)] == [{}, {"i": 0}, {"i": 2}, {}]
        assert tx.events.after(everything[-1].number) == []
        assert tx.events.newest() == everything[-1].number
        assert tx.events.latest(a.id, 2) == [everything[4], everything[6]]


def test_without_events_the_newest_is_0(database):
    with database.reading() as tx:
        assert tx.events.newest() == 0


def test_numbers_are_not_used_again(database):
    submitted(database, "a")
    with database.reading() as tx:
        before = tx.events.newest()
    try:
        with database.transaction() as tx:
            tx.events.add(tx.jobs.get("a").id, Note(kind="never"), now=1.0)
            raise ZeroDivisionError
    except ZeroDivisionError:
        pass
    submitted(database, "b")
    with database.reading() as tx:
        assert [event.kind for event in tx.events.after(before)] == ["submitted"]
        assert tx.events.newest() > before


def test_a_story_is_a_line_for_each_event(database):
    job = in_state(database, JobState.RUNNING)
    with database.transaction() as tx:
        tx.events.add(job.id, Note(kind="told", cause="c", who="w"), now=3.5)
        lines = tx.events.story(job.id).splitlines()
    assert [line.split(" ", 1)[1] for line in lines] == [
        "1.000 submitted - -> queued (user, ann)",
        "2.000 state queued -> starting (plan, scheduler): to starting",
        "2.000 state starting -> running (plan, scheduler): to running",
        "3.500 told (c, w)",
    ]


def test_whatever_a_program_prints_can_be_kept(database):
    job = submitted(database)
    words = "nul \0, half a character \ud83d, \\u0000 in letters, 🚂"
    data = {"trace": [words, {words: (1.5, None)}], "\0": 1}
    with database.transaction() as tx:
        tx.events.add(job.id, Note(kind="told", reason=words, data=data), now=1.0)
        tx.jobs.change(job, now=1.0, reason=words, outcome={"message": words})
    kept = "nul \ufffd, half a character \ufffd, \\u0000 in letters, 🚂"
    with database.reading() as tx:
        event = tx.events.latest(job.id)[-1]
        assert event.reason == tx.jobs.get(job.id).reason == kept
        assert event.data == {"trace": [kept, {kept: [1.5, None]}], "\ufffd": 1}
        assert tx.jobs.get(job.id).outcome == {"message": kept}


def test_events_of_jobs_that_ended_before_a_time_are_removed_step_by_step(database):
    over, waits = in_state(database, JobState.DONE, "over"), submitted(database, "waits")
    with database.reading() as tx:
        everything = tx.events.after(0)
    with database.transaction() as tx:
        first = tx.events.purge(after=0, before=100.0, limit=2)
        assert first == everything[1].number
        assert tx.events.after(0) == everything[2:]
        assert tx.events.purge(after=first, before=100.0, limit=1000) is None
        assert {event.job for event in tx.events.after(0)} == {waits.id}
        assert over.id != waits.id
