"""Somebody outside decides where workers are: the gang keeps to it, and moves at step boundaries."""

from __future__ import annotations

from orchestrator.gang.commands import Dismiss, Form, Hire, Hold
from orchestrator.gang.events import Drain, Resize
from orchestrator.gang.places import leavers
from orchestrator.gang.states import Holding, Training
from tests.support.gang_life import Life, formed_by, none, only, training, w
from workers.protocol import Hold as HoldOrder


def places(**counts: int) -> Resize:
    """So many workers on each of these nodes."""
    return Resize(workers=sum(counts.values()), places=counts)


def arrive(life: Life, number: int, node: str) -> None:
    """A worker is ready, on a node."""
    life[number].node = node
    life.ready(number)


def test_who_comes_is_told_where_to():
    life = training(2, step=4)
    hire = only(life.hear(places(n0=1, n1=1, n7=2)), Hire)
    assert hire == Hire(workers=(w(2), w(3)), nodes=("n7", "n7"))


def test_the_workers_on_nodes_with_too_many_are_those_that_leave():
    life = training(4, step=4)
    assert only(life.hear(places(n1=1, n3=1)), Hold).why == "shrink"
    assert formed_by(life.parked(5)) == (w(1), w(3))
    assert {c.worker for c in life.formed(5) if isinstance(c, Dismiss)} == {w(0), w(2)}
    assert life.wait(5) == []


def test_a_move_waits_for_those_who_come():
    life = training(2, step=4)
    hire = only(life.hear(places(n0=1, n5=1)), Hire)
    assert hire.nodes == ("n5",)
    assert none(life.wait(10), Hold)
    arrive(life, 2, "n5")
    assert isinstance(life.gang.phase, Holding)
    assert formed_by(life.parked(9)) == (w(0), w(2))
    assert only(life.formed(9), Dismiss).worker == w(1)


def test_all_can_move_and_the_state_goes_with_them():
    life = training(1, step=4)
    life.hear(places(n9=1))
    arrive(life, 1, "n9")
    assert set(formed_by(life.parked(5))) == {w(0), w(1)}, "who holds the state hands it on first"
    assert only(life.formed(5), Hold).why == "shrink"
    assert formed_by(life.parked(6)) == (w(1),)


def test_one_that_starts_where_nobody_is_wanted_any_more_is_ended_at_once():
    life = training(2, step=4)
    life.hear(places(n0=1, n1=1, n7=1))
    commands = life.hear(places(n0=1, n1=1))
    assert only(commands, Dismiss).worker == w(2)
    assert none(commands, Hold)
    assert isinstance(life.gang.phase, Training)


def test_who_dies_is_replaced_at_its_place():
    life = training(2, step=4)
    life.hear(places(n0=1, n1=1))
    assert only(life.hear(life[1].lost()), Hire).nodes == ("n1",)


def test_nobody_is_hired_for_a_node_that_goes_away():
    life = training(2, step=4)
    life.hear(places(n0=1, n1=1))
    assert none(life.hear(Drain(node="n1", seconds=60.0)), Hire)
    hire = only(life.hear(places(n0=1, n2=1)), Hire)
    assert hire == Hire(workers=(w(2),), avoid=frozenset({"n1"}), nodes=("n2",))


def test_members_stay_before_those_who_only_start():
    life = training(1, step=4)
    life.hear(places(n0=2))
    life.hear(places(n0=1))
    assert leavers(life.gang) == frozenset()
    assert w(0) in life.gang.crew
    assert w(1) not in life.gang.crew


def test_the_first_workers_go_to_their_places():
    life = Life(3, places={"a": 2, "b": 1})
    assert only(life.told, Hire).nodes == ("a", "a", "b")


def test_a_hold_tells_nothing_but_that():
    life = training(2, step=4)
    hold = only(life.hear(places(n0=1)), Hold)
    assert hold.order == HoldOrder(generation=0)
    form = only(life.parked(5), Form)
    assert form.membership.places == {"n0": 1}, "for a supervisor that has to begin anew"
