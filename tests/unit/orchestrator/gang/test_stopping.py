"""A job that is told to stop saves at the next boundary and ends; it can go on from there."""

from __future__ import annotations

import pytest

from orchestrator.gang.commands import Hire, Hold
from orchestrator.gang.events import CommitFailed, Committed, Pause, Resize, Stop
from orchestrator.gang.states import Ended, Outcome, Training
from tests.support.gang_life import Life, none, only, training

STOP = Stop(seconds=30.0)


def ended(life: Life) -> Outcome:
    """How it ended; it must have."""
    assert isinstance(life.gang.phase, Ended), life.gang.phase
    return life.gang.phase.outcome


def test_it_saves_stops_at_a_boundary_and_ends_when_that_is_committed():
    life = training(3, step=4, saves=True)
    hold = only(life.hear(STOP), Hold)
    assert (hold.why, hold.order.save) == ("stop", True)
    life.step(5)
    life.saved(5)
    life.parked(5)
    assert not isinstance(life.gang.phase, Ended), "the manifest is not written yet"
    life.hear(Committed(step=5))
    outcome = ended(life)
    assert (outcome.done, outcome.stopped, outcome.step, outcome.fault) == (False, True, 5, None)


def test_a_job_that_saves_nothing_ends_at_once():
    life = training(3, step=4)
    life.hear(STOP)
    assert ended(life).stopped
    assert ended(life).step is None


def test_one_that_has_not_begun_ends_at_once():
    life = Life(2, saves=True)
    life.hear(STOP)
    assert ended(life).stopped
    assert ended(life).step == 0


def test_when_its_time_is_up_it_ends_with_the_checkpoint_that_there_is():
    life = training(2, step=4, saves=True)
    life.saved(4)
    life.hear(Committed(step=4))
    life.step(9)
    life.hear(STOP)
    life.wait(29)
    assert not isinstance(life.gang.phase, Ended)
    life.wait(2)
    assert ended(life).step == 4
    assert "the 5 steps after it are not saved" in ended(life).message


def test_a_manifest_that_the_store_does_not_take_is_tried_again_as_long_as_there_is_time():
    life = training(1, step=4, saves=True, retry=1.0)
    life.hear(STOP)
    life.step(5)
    life.saved(5)
    life.parked(5)
    life.hear(CommitFailed(step=5, message="503", exit_code=3))
    life.wait(3)
    life.hear(Committed(step=5))
    assert ended(life).step == 5


def test_a_death_on_the_way_costs_nothing_but_time():
    life = training(2, step=4, saves=True)
    life.hear(STOP)
    assert none(life.hear(life[1].lost()), Hire), "nobody is hired for a job that ends"
    assert only(life.formed(4), Hold).why == "stop"
    life.step(5)
    life.saved(5)
    life.parked(5)
    life.hear(Committed(step=5))
    assert ended(life).step == 5


def test_when_all_die_what_is_saved_is_all_that_there_is():
    life = training(1, step=4, saves=True)
    life.saved(4)
    life.hear(Committed(step=4))
    life.hear(STOP, life[0].lost())
    assert ended(life).step == 4


@pytest.mark.parametrize("wish", [Pause(), Resize(workers=1)], ids=str)
def test_a_hold_for_something_else_becomes_one_that_saves(wish):
    life = training(3, step=4, saves=True)
    life.hear(wish)
    assert only(life.hear(STOP), Hold).order.save


def test_a_job_that_pauses_and_is_saved_ends_at_once():
    life = training(2, step=4, saves=True)
    life.hear(Pause())
    life.step(5)
    life.saved(5)
    life.parked(5)
    life.hear(Committed(step=5))
    life.hear(STOP)
    assert ended(life).step == 5


def test_one_that_does_its_last_step_is_done():
    life = training(2, step=4, saves=True)
    life.hear(STOP)
    life.step(5)
    life.saved(5)
    life.finished(5)
    life.hear(Committed(step=5))
    assert ended(life).done
    assert not ended(life).stopped


def test_an_earlier_end_of_its_time_counts():
    life = training(2, step=4, saves=True)
    life.hear(STOP, Stop(seconds=5.0), STOP)
    assert isinstance(life.gang.phase, Training) is False
    life.wait(6)
    assert ended(life).stopped
