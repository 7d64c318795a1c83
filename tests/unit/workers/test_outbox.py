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
