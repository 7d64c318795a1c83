"""A block arrives once, by whichever of its requests is there first."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import CancelledError, Future
from queue import Queue

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workers.data.flights import Flight, Flights

SIZE, WARM = 1000, 200
USUAL, LATE_AFTER = 1.0, 2.0
SECONDS_MAX = 10


class Tower:
    """A store in the hands of the test: it answers requests in any order, by a clock that the test turns."""

    def __init__(self) -> None:
        self.now = 0.0
        self.asked: Queue[tuple[int, bool, Future[pa.RecordBatch]]] = Queue()
        self.flights = Flights(self.load, clock=lambda: self.now)

    def load(self, flight: Flight, second: bool) -> pa.RecordBatch:
        answer: Future[pa.RecordBatch] = Future()
        self.flights.asks(flight)
        self.asked.put((flight.block, second, answer))
        return answer.result(SECONDS_MAX)

    def next(self) -> tuple[int, bool, Future[pa.RecordBatch]]:
        return self.asked.get(timeout=SECONDS_MAX)

    def send(self, block: int) -> tuple[Flight, Future[pa.RecordBatch]]:
        """A flight, and the request that was sent for it."""
        flight = self.flights.send(block, SIZE)
        asked, second, answer = self.next()
        assert (asked, second) == (block, False)
        return flight, answer

    def usual(self) -> Tower:
        """It is known how long a block takes, and there were enough to allow some second requests."""
        for block in range(WARM):
            flight, answer = self.send(block)
            self.now += USUAL
            answer.set_result(batch(block))
            flight.arrived.result(SECONDS_MAX)
        return self


def batch(number: int) -> pa.RecordBatch:
    return pa.record_batch({"number": [number]})


@pytest.fixture
def tower() -> Iterator[Tower]:
    tower = Tower().usual()
    yield tower
    tower.flights.close()


def test_what_is_not_late_is_not_asked_for_again(tower):
    flight, answer = tower.send(7)
    assert tower.flights.hurry(flight) == pytest.approx(LATE_AFTER)
    tower.now += 1.5
    assert tower.flights.hurry(flight) == pytest.approx(0.5)
    answer.set_result(batch(7))
    assert flight.arrived.result(SECONDS_MAX) == batch(7)
    assert (tower.flights.sent, tower.flights.hedged) == (WARM + 1, 0)


def test_what_is_late_is_asked_for_once_more_and_the_first_answer_counts(tower):
    flight, answer = tower.send(7)
    tower.now += LATE_AFTER
    for _ in range(5):
        tower.flights.hurry(flight)
    block, second, other = tower.next()
    assert (block, second) == (7, True)
    other.set_result(batch(7))
    assert flight.arrived.result(SECONDS_MAX) == batch(7)
    answer.set_result(batch(8))
    tower.flights.close()
    assert flight.arrived.result() == batch(7)
    assert (tower.flights.sent, tower.flights.hedged) == (WARM + 2, 1)
    assert tower.asked.empty()


def test_a_second_request_may_hang_too_and_each_next_one_waits_twice_as_long(tower):
    flight, _ = tower.send(7)
    answers = []
    for wait in (LATE_AFTER, 2 * LATE_AFTER, 4 * LATE_AFTER):
        assert tower.flights.hurry(flight) == pytest.approx(wait)
        tower.now += wait
        tower.flights.hurry(flight)
        block, second, answer = tower.next()
        assert (block, second) == (7, True)
        answers.append(answer)
    tower.now += 1000
    tower.flights.hurry(flight)
    answers[-1].set_result(batch(7))
    assert flight.arrived.result(SECONDS_MAX) == batch(7)
    assert tower.asked.empty()
    assert tower.flights.hedged == len(answers) == 3


@settings(max_examples=25, deadline=None)
@given(first=st.booleans(), second=st.booleans(), first_is_first=st.booleans())
def test_an_answer_counts_before_any_failure_and_the_first_before_the_second(first, second, first_is_first):
    tower = Tower().usual()
    flight, one = tower.send(7)
    tower.now += LATE_AFTER
    tower.flights.hurry(flight)
    _, _, other = tower.next()
    answers = [(one, first, 1), (other, second, 2)]
    if not first_is_first:
        answers.reverse()
    for answer, well, number in answers:
        if well:
            answer.set_result(batch(number))
            assert flight.arrived.result(SECONDS_MAX)
        else:
            answer.set_exception(OSError(number))
    good = [number for _, well, number in answers if well]
    if good:
        assert flight.arrived.result(SECONDS_MAX) == batch(good[0])
    else:
        assert isinstance(flight.arrived.exception(SECONDS_MAX), OSError)
    tower.flights.close()


def test_a_request_that_was_overtaken_takes_nobodys_place(tower):
    stuck = [tower.send(block) for block in range(32)]
    waits = tower.flights.send(32, SIZE)
    assert tower.asked.empty()
    tower.now += LATE_AFTER
    tower.flights.hurry(stuck[0][0])
    tower.next()[2].set_result(batch(0))
    assert stuck[0][0].arrived.result(SECONDS_MAX) == batch(0)
    block, second, answer = tower.next()
    assert (block, second) == (32, False)
    answer.set_result(batch(32))
    assert waits.arrived.result(SECONDS_MAX) == batch(32)
    for block, (_, late) in enumerate(stuck):
        late.set_result(batch(block))


def test_where_all_stops_few_second_requests_are_sent(tower):
    waiting = [tower.send(block) for block in range(25)]
    tower.now += 1000
    for flight, _ in waiting:
        tower.flights.hurry(flight)
    assert tower.flights.hedged == (WARM + len(waiting)) * 3 // 100 == 6
    for _, answer in waiting:
        answer.set_result(batch(0))


def test_before_anything_is_known_nothing_is_late():
    tower = Tower()
    flight, answer = tower.send(7)
    tower.now += 1000
    tower.flights.hurry(flight)
    assert tower.flights.hedged == 0
    answer.set_result(batch(7))
    tower.flights.close()


def test_what_has_not_begun_can_be_given_up_and_what_has_cannot(tower):
    begun = [tower.send(block) for block in range(32)]
    waits = tower.flights.send(32, SIZE)
    for flight in (waits, begun[0][0]):
        tower.flights.cancel(flight)
    assert waits.cancelled
    with pytest.raises(CancelledError):
        waits.arrived.result(SECONDS_MAX)
    for block, (flight, answer) in enumerate(begun):
        answer.set_result(batch(block))
        assert flight.arrived.result(SECONDS_MAX) == batch(block)
    assert tower.asked.empty()
