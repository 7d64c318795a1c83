"""Planned changes: joins, resizes, drains and pauses are made at a step boundary, from memory."""

from __future__ import annotations

import pytest

from orchestrator.gang.commands import Dismiss, Form, Hire, Hold, Recall
from orchestrator.gang.events import Drain, Pause, Recalled, Resize, Resume
from orchestrator.gang.states import Forming, Holding, Paused, Recalling, Stage, Training, Waiting
from tests.support.gang_life import Life, formed_by, none, only, training, w
from workers.protocol import Hold as HoldOrder


def held(commands: list) -> tuple[str, bool, tuple[str, ...]]:
    """Why a generation is asked to stop, whether it saves first, and who is told."""
    hold = only(commands, Hold)
    return hold.why, hold.order.save, hold.workers


# --- join ---


def test_a_worker_that_is_ready_joins_at_the_next_boundary():
    life = training(3, step=4)
    life.hear(life[1].lost())
    life.formed(4)
    hold = only(life.ready(3), Hold)
    assert hold == Hold(order=HoldOrder(generation=1), workers=(w(0), w(2)), why="join")
    assert isinstance(life.gang.phase, Holding)
    life.step(5)
    assert life.parked(5, 0) == []
    form = only(life.parked(5, 2), Form)
    assert form.why == "join"
    assert form.membership.generation == 2
    assert form.membership.workers == (w(0), w(2), w(3)), "those who hold the state keep their ranks"
    life.formed(5)
    assert isinstance(life.gang.phase, Training)


def test_one_that_becomes_ready_while_the_survivors_meet_is_asked_for_afterwards():
    life = training(3, step=4)
    life.hear(life[1].lost())
    assert none(life.ready(3), Hold)
    assert held(life.formed(4)) == ("join", False, (w(0), w(2)))


def test_a_second_one_comes_along_without_a_second_hold():
    life = training(3, step=4)
    life.hear(life[1].lost(), life[2].lost())
    life.formed(4)
    assert only(life.ready(3), Hold)
    assert life.ready(4) == []
    assert formed_by(life.parked(4)) == (w(0), w(3), w(4))


@pytest.mark.parametrize("dead", [0, 1])
def test_a_death_while_the_others_stop_takes_in_the_one_that_waits(dead):
    life = training(2, step=4)
    life.hear(Resize(workers=3))
    life.ready(2)
    assert isinstance(life.gang.phase, Holding)
    life.broken(4, 1 - dead)
    assert isinstance(life.gang.phase, Waiting)
    assert formed_by(life.hear(life[dead].lost())) == (w(1 - dead), w(2))


# --- resize ---


def test_more_workers_are_hired_while_the_others_go_on():
    life = training(2, step=4)
    assert only(life.hear(Resize(workers=4)), Hire).workers == (w(2), w(3))
    assert isinstance(life.gang.phase, Training)
    assert held(life.ready(2)) == ("join", False, (w(0), w(1)))
    life.parked(5)
    life.formed(5)
    assert held(life.ready(3)) == ("join", False, (w(0), w(1), w(2)))
    assert formed_by(life.parked(6)) == (w(0), w(1), w(2), w(3))


def test_fewer_workers_stop_at_a_boundary_and_the_rest_are_let_go():
    life = training(4, step=4)
    assert held(life.hear(Resize(workers=2))) == ("shrink", False, (w(0), w(1), w(2), w(3)))
    commands = life.parked(5)
    assert formed_by(commands) == (w(0), w(1))
    assert none(commands, Hire)
    assert none(commands, Dismiss), "they keep the state until the others are seen to have it"
    assert none(life.hear(life[0].formed(1, 5)), Dismiss)
    let_go = life.hear(life[1].formed(1, 5))
    assert let_go == [Dismiss(worker=w(2), why="shrink"), Dismiss(worker=w(3), why="shrink")]
    assert life.hear(life[2].lost()) == [], "that they are gone is no news"
    assert isinstance(life.gang.phase, Training)


def test_more_than_there_are_virtual_ranks_is_as_many_as_there_are():
    life = training(2)
    assert len(only(life.hear(Resize(workers=100)), Hire).workers) == 6


def test_the_same_number_changes_nothing():
    life = training(2, step=4)
    assert life.hear(Resize(workers=2)) == []


# --- drain ---


def test_a_drained_worker_goes_on_until_its_replacement_is_ready():
    life = training(2, step=4)
    assert only(life.hear(Drain(node="n1", seconds=60.0)), Hire) == Hire(
        workers=(w(2),), avoid=frozenset({"n1"})
    )
    assert none(life.wait(20), Hold)
    assert held(life.ready(2)) == ("join", False, (w(0), w(1)))
    commands = life.parked(9)
    assert formed_by(commands) == (w(0), w(2))
    assert only(life.formed(9), Dismiss) == Dismiss(worker=w(1), why="join")


def test_who_leaves_hands_the_state_on_if_those_who_stay_died_unseen():
    life = training(2, step=4)
    life.hear(Resize(workers=1))
    assert formed_by(life.parked(5)) == (w(0),)
    commands = life.hear(life[0].lost())
    assert formed_by(commands) == (w(1),)
    assert none(commands, Recall)
    assert life.gang.crew[w(1)].step == 5
    assert life.gang.crew[w(1)].why == "", "it stays now"


def test_who_leaves_and_is_lost_is_not_missed():
    life = training(3, step=4)
    life.hear(Resize(workers=2))
    life.parked(5)
    assert life.hear(life[2].lost()) == []
    assert life.formed(5) == []


def test_who_is_left_out_of_a_generation_that_broke_is_told_and_keeps_the_state_too():
    life = training(3, step=4)
    life.hear(Resize(workers=1))
    commands = life.hear(life[0].lost())
    assert formed_by(commands) == (w(1),)
    assert only(commands, Form).keepers == (w(2),)
    assert none(commands, Dismiss)
    assert only(life.formed(4), Dismiss).worker == w(2)


def test_who_is_left_out_and_is_behind_is_let_go_at_once():
    life = training(2, step=4)
    life.hear(Resize(workers=1))
    life.step(5, 0)
    life.broken(5, 0)
    commands = life.wait(1)
    assert formed_by(commands) == (w(0),)
    assert only(commands, Dismiss).worker == w(1)


def test_without_a_replacement_it_is_let_go_shortly_before_the_deadline():
    life = training(2, step=4, drain_margin=3.0)
    life.hear(Drain(node="n1", seconds=10.0))
    assert none(life.wait(6.5), Hold)
    assert held(life.wait(1)) == ("drain", False, (w(0), w(1)))
    assert formed_by(life.parked(9)) == (w(0),)
    life.formed(9)
    assert life.wait(5) == []
    assert isinstance(life.gang.phase, Training)


def test_who_alone_holds_the_state_hands_it_on_before_it_goes():
    life = training(1, step=4)
    life.hear(Drain(node="n0", seconds=10.0))
    assert held(life.ready(1)) == ("join", False, (w(0),))
    life.wait(9)
    assert set(formed_by(life.parked(5))) == {w(0), w(1)}, "over time, and still needed"
    assert held(life.formed(5)) == ("shrink", False, (w(0), w(1)))
    assert formed_by(life.parked(6)) == (w(1),)


def test_when_nobody_can_take_over_a_checkpoint_is_written_once_and_work_goes_on_to_the_end():
    life = training(2, step=4, saves=True, one_node=True, drain_margin=3.0)
    life.hear(Drain(node="n0", seconds=10.0))
    assert none(life.wait(6.5), Hold)
    assert held(life.wait(1)) == ("drain", True, (w(0), w(1)))
    life.saved(9)
    assert formed_by(life.parked(9)) == (w(0), w(1))
    life.formed(9)
    assert none(life.wait(5), Hold), "once is enough"
    assert only(life.hear(life[0].lost(), life[1].lost()), Recall)


def test_workers_on_a_node_that_goes_are_not_waited_for():
    life = training(2, step=4)
    life.hear(Drain(node="n1", seconds=60.0), life[1].lost())
    assert formed_by(life.told) == (w(0),)


# --- pause ---


def test_a_pause_saves_stops_at_a_boundary_and_keeps_all_in_memory():
    life = training(3, step=4, saves=True)
    assert held(life.hear(Pause())) == ("pause", True, (w(0), w(1), w(2)))
    life.step(5)
    life.saved(5)
    assert life.parked(5) == []
    assert isinstance(life.gang.phase, Paused)
    assert life.wait(600) == [], "nobody hangs who was asked to stand still"
    form = only(life.hear(Resume()), Form)
    assert (form.why, form.membership.workers) == ("resume", (w(0), w(1), w(2)))
    life.formed(5)
    assert isinstance(life.gang.phase, Training)


def test_without_checkpoints_a_pause_only_stops():
    life = training(2, step=4)
    assert held(life.hear(Pause())) == ("pause", False, (w(0), w(1)))


def test_a_pause_that_is_taken_back_in_time_goes_on_at_the_boundary():
    life = training(2, step=4)
    life.hear(Pause())
    assert life.hear(Resume()) == []
    assert formed_by(life.parked(5)) == (w(0), w(1))


def test_a_pause_while_the_others_stop_for_something_else_saves_too():
    life = training(2, step=4, saves=True)
    life.hear(Resize(workers=1))
    assert held(life.hear(Pause())) == ("pause", True, (w(0), w(1)))
    life.parked(5)
    assert isinstance(life.gang.phase, Paused)
    assert formed_by(life.hear(Resume())) == (w(0),)


def test_a_pause_before_the_first_generation_holds_it_as_soon_as_it_is_at_work():
    life = Life(2)
    life.hear(Pause())
    assert only(life.ready(0, 1), Form)
    assert held(life.formed()) == ("pause", False, (w(0), w(1)))


def test_who_dies_in_a_pause_is_replaced_and_joins_when_it_is_over():
    life = training(3, step=4)
    life.hear(Pause())
    life.parked(5)
    assert only(life.hear(life[0].lost()), Hire).workers == (w(3),)
    assert isinstance(life.gang.phase, Paused)
    assert life.ready(3) == []
    assert formed_by(life.hear(Resume())) == (w(1), w(2), w(3))


def test_when_all_die_in_a_pause_the_checkpoint_is_gone_on_from_afterwards():
    life = training(1, step=4, saves=True)
    life.hear(Pause())
    life.parked(5)
    life.hear(life[0].lost())
    life.ready(1)
    assert only(life.hear(Resume()), Recall)
    assert isinstance(life.gang.phase, Recalling)
    assert only(life.hear(Recalled(step=5)), Form).membership.resume_step == 5


def test_a_resize_in_a_pause_is_made_when_it_is_over():
    life = training(3, step=4)
    life.hear(Pause())
    life.parked(5)
    assert life.hear(Resize(workers=1)) == []
    assert formed_by(life.hear(Resume())) == (w(0),)
    assert {each.worker for each in life.formed(5) if isinstance(each, Dismiss)} == {w(1), w(2)}


def test_a_wish_that_needs_no_stop_is_kept_until_a_generation_is_at_work():
    life = training(3, step=4)
    life.hear(life[2].lost())
    assert isinstance(life.gang.phase, Forming)
    assert none(life.hear(Resize(workers=1)), Hold)
    assert held(life.formed(4)) == ("shrink", False, (w(0), w(1)))
    assert life.stages()[0] is Stage.TRAINING
