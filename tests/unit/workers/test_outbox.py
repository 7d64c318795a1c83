"""A reader that loses an answer reads it again, and nothing twice that it has acknowledged."""

from __future__ import annotations

from threading import Thread

from hypothesis import given
from hypothesis import strategies as st

from tests.support.events import FakeWorker
from workers.outbox import Outbox

EVENTS = [FakeWorker().step_done(step) for step in range(1, 40)]


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), max_size=12))
def test_every_event_arrives_in_order_whatever_answers_are_lost(story):
    outbox, sent, received, acknowledged = Outbox(), 0, [], 0
    for puts, arrives in [*story, (0, True)]:
        for event in EVENTS[sent : sent + puts]:
            outbox.put(event)
        sent = min(sent + puts, len(EVENTS))
        answer = outbox.read(acknowledged, timeout=0)
        assert [number for number, _ in answer] == list(range(acknowledged + 1, sent + 1))
        if arrives and answer:
            received += [event for _, event in answer]
            acknowledged = answer[-1][0]
    assert received == EVENTS[:sent]


def test_acknowledged_events_are_kept_for_a_reader_that_begins_anew():
    outbox = Outbox(kept=10)
    for event in EVENTS:
        outbox.put(event)
    everything = outbox.read(0, timeout=0)
    assert [event for _, event in everything] == EVENTS, "nothing goes that was not acknowledged"
    assert outbox.read(len(EVENTS), timeout=0) == []
    assert outbox.read(0, timeout=0) == everything[-10:]
    assert outbox.read(len(EVENTS) - 3, timeout=0) == everything[-3:]


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 39)), max_size=12), st.integers(0, 5))
def test_an_answer_is_all_that_follows_a_position_as_far_as_it_is_kept(story, kept):
    outbox, sent, acknowledged = Outbox(kept=kept), 0, 0
    for puts, position in story:
        for event in EVENTS[sent : sent + puts]:
            outbox.put(event)
        sent = min(sent + puts, len(EVENTS))
        position = min(position, sent)
        answer = outbox.read(position, timeout=0)
        first = sent - len(answer) + 1
        assert answer == [(number, EVENTS[number - 1]) for number in range(first, sent + 1)]
        new = sent - position
        assert len(answer) <= new
        assert len(answer) >= (new if position >= acknowledged else min(new, kept))
        acknowledged = max(acknowledged, position)


def test_the_newest_event_of_each_kind_is_remembered_however_old_it_is():
    outbox, worker = Outbox(kept=3), FakeWorker()
    for event in (worker.ready(), worker.formed(), *EVENTS[:10]):
        outbox.put(event)
    assert [number for number, _ in outbox.remembered()] == list(range(1, 13))
    outbox.read(acknowledged=12, timeout=0)
    assert outbox.remembered() == [(1, worker.ready()), (2, worker.formed()), *enumerate(EVENTS[7:10], 10)]


def test_reports_of_steps_wait_for_the_next_ones_and_everything_else_is_told_at_once():
    outbox, answers = Outbox(linger=600), []
    reader = Thread(target=lambda: answers.append(outbox.read(0, timeout=600)))
    reader.start()
    outbox.put(EVENTS[0])
    outbox.put(EVENTS[1])
    outbox.put(FakeWorker().parked(2))
    reader.join(30)
    assert [[number for number, _ in answer] for answer in answers] == [[1, 2, 3]]


def test_that_a_generation_is_broken_waits_too():
    outbox, answers = Outbox(linger=600), []
    reader = Thread(target=lambda: answers.append(outbox.read(0, timeout=600)))
    reader.start()
    outbox.put(FakeWorker().broken(2, 0))
    outbox.put(FakeWorker().formed(1))
    reader.join(30)
    assert [[number for number, _ in answer] for answer in answers] == [[1, 2]]


def test_no_report_waits_longer_than_its_reader():
    outbox = Outbox(linger=600)
    outbox.put(EVENTS[0])
    assert outbox.read(0, timeout=0.01) == [(1, EVENTS[0])]


def test_a_reader_waits_for_the_first_event():
    outbox = Outbox()
    reader = Thread(target=lambda: answers.append(outbox.read(0, timeout=60)))
    answers: list[object] = []
    reader.start()
    outbox.put(EVENTS[0])
    reader.join(30)
    assert answers == [[(1, EVENTS[0])]]


def test_a_reader_with_nothing_to_read_comes_back():
    outbox = Outbox()
    outbox.put(EVENTS[0])
    assert outbox.read(acknowledged=1, timeout=0.01) == []
