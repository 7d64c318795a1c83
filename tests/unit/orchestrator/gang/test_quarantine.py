"""A damaged block is left out by all from the next generation on, up to as many as the job allows."""

from __future__ import annotations

import pytest

from orchestrator.gang import Policy, adopt, handle, start
from orchestrator.gang.commands import Form
from orchestrator.gang.events import Tick
from orchestrator.gang.states import Training
from tests.support.events import FakeWorker
from tests.support.gang_life import V, none, only, training, w
from workers.protocol import Fault, LeftOut, Membership, Memory


def test_the_step_is_done_again_by_the_same_workers_without_the_block():
    life = training(3, step=5, damaged_blocks=1)
    form = only(life.hear(life[1].damaged(7, 5, life.gang.generation)), Form).membership
    assert form.workers == (w(0), w(1), w(2))
    assert form.left_out == (LeftOut(block=7, step=6),)
    life.formed(5)
    life.step(6)
    assert isinstance(life.gang.phase, Training)
    assert life.gang.trouble.counts == {}, "nobody is at fault"


def test_the_others_who_lost_a_peer_by_it_are_in_no_hurry_to_say_so():
    life = training(3, step=5, damaged_blocks=1)
    old = life.gang.generation
    life.broken(5, 0, 2)
    commands = life.hear(life[1].damaged(7, 5, old))
    assert only(commands, Form).membership.left_out == (LeftOut(block=7, step=6),)
    assert none(life.hear(life[0].broken(5, old)), Form)


def test_what_was_found_at_the_same_time_is_left_out_too():
    life = training(3, step=5, damaged_blocks=2)
    old = life.gang.generation
    life.hear(life[1].damaged(7, 5, old))
    form = only(life.hear(life[0].damaged(3, 5, old)), Form).membership
    assert form.left_out == (LeftOut(block=3, step=6), LeftOut(block=7, step=6))
    assert none(life.hear(life[2].damaged(7, 5, old)), Form), "it is known"


def test_it_stays_left_out_in_all_later_generations():
    life = training(3, step=5, damaged_blocks=1)
    life.hear(life[1].damaged(7, 5, life.gang.generation))
    life.formed(5)
    form = only(life.hear(life[2].lost()), Form).membership
    assert form.left_out == (LeftOut(block=7, step=6),)


def test_what_a_checkpoint_was_trained_without_stays_out_when_a_job_goes_on_from_it():
    known = (LeftOut(block=7, step=3),)
    gang, _ = start(Policy(virtual_ranks=V, damaged_blocks=1), 1, 20, 1000.0, known)
    gang, commands = handle(gang, FakeWorker(w(0), node="n0").ready(), 1001.0)
    while none(list(commands), Form):
        gang, commands = handle(gang, Tick(), gang.ticked + 1.0)
    assert only(list(commands), Form).membership.left_out == known


def test_it_is_needed_by_the_step_that_was_broken_off_or_by_the_next_one():
    life = training(2, step=5, damaged_blocks=2)
    form = only(life.hear(life[0].damaged(7, None, life.gang.generation)), Form).membership
    assert form.left_out == (LeftOut(block=7, step=6),)


@pytest.mark.parametrize("allowed", [0, 1, 2])
def test_one_more_than_is_allowed_ends_the_job_with_its_name(allowed):
    life = training(3, step=5, damaged_blocks=allowed)
    for block in range(allowed):
        life.hear(life[0].damaged(block, 5, life.gang.generation))
        life.formed(5)
    life.hear(life[0].damaged(99, 5, life.gang.generation))
    assert (life.outcome.exit_code, life.outcome.fault) == (2, Fault.INPUT)
    assert "block 99 is damaged" in life.outcome.message
    assert f"more than {allowed} damaged blocks" in life.outcome.message


def test_a_new_supervisor_leaves_it_out_too():
    life = training(2, step=5, damaged_blocks=1)
    membership = Membership(
        generation=3,
        workers=(w(0), w(1)),
        hosted=(tuple(range(4)), tuple(range(4, V))),
        store="w0:1",
        left_out=(LeftOut(block=7, step=4),),
    )
    memories = [
        Memory(
            worker=w(n),
            membership=membership,
            hold=None,
            events=(life[n].ready(), life[n].formed(3, 5)),
            position=2,
        )
        for n in range(2)
    ]
    gang, _ = adopt(life.gang.policy, 2, memories, None, life.now)
    assert gang.left_out == (LeftOut(block=7, step=4),)


def test_who_remembers_to_have_met_one_waits_for_the_next_generation():
    life = training(2, step=5, damaged_blocks=1)
    memories = [
        Memory(
            worker=w(n),
            membership=life.membership,
            hold=None,
            events=(life[n].ready(), life[n].formed(0, 5), life[n].damaged(7, 5, 0)),
            position=3,
        )
        for n in range(2)
    ]
    life.gang, _ = adopt(life.gang.policy, 2, memories, None, life.now)
    assert not none(life.wait(1.0), Form)
