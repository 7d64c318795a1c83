"""Who is taken for hanging, and who is not."""

from __future__ import annotations

import pytest

from orchestrator.gang.commands import Dismiss, Form
from orchestrator.gang.events import Tick
from tests.support.gang_life import Life, only, training
from workers.protocol import Activity, Fault

PATIENCE = {"hang": 2.0, "first_steps": 60.0, "evaluation": 60.0, "alone": 30.0, "starting": 30.0}


def at_work(steps: int = 0, seconds: float = 0.1) -> Life:
    """Three workers after so many steps that took so long."""
    life = training(3, **PATIENCE)
    for step in range(1, steps + 1):
        life.step(step, seconds=seconds)
    return life


def ended(commands: list) -> list[tuple[str, bool]]:
    return [(each.worker, each.stacks) for each in commands if isinstance(each, Dismiss)]


def test_who_is_silent_while_the_others_wait_is_ended_with_its_stacks_and_the_others_go_on():
    life = at_work(1)
    commands = life.wait(3.0, silent={1})
    assert ended(commands) == [("worker-1", True)]
    assert only(commands, Form).membership.workers == ("worker-0", "worker-2")


def test_who_is_silent_is_left_alone_as_long_as_the_job_gets_on():
    life = at_work(1)
    for step in range(2, 12):
        assert ended(life.wait(1.0, silent={1})) == []
        life.step(step, 0)


@pytest.mark.parametrize("seconds", [0.1, 4.0])
def test_how_long_is_too_long_follows_the_jobs_own_steps(seconds):
    life = at_work(6, seconds)
    limit = max(2.0, 5 * seconds)
    assert ended(life.wait(limit - 0.5, silent={1})) == []
    assert ended(life.wait(1.5, silent={1})) == [("worker-1", True)]


def test_a_worker_that_loops_in_the_users_code_says_that_it_is_alive_and_is_found_all_the_same():
    life = at_work(6)
    began, found = life.now, []
    while not found:
        life.now += 0.25
        life.hear(*(life[n].beat(Activity.REDUCE_WAIT, 0.0) for n in (0, 2)))
        found = ended(life.hear(life[1].beat(Activity.PRODUCTIVE, life.now - began), Tick()))
    assert found == [("worker-1", True)]
    assert 2.0 < life.now - began < 2.6


@pytest.mark.parametrize(
    ("activity", "seconds"),
    [(Activity.PRODUCTIVE, 59.0), (Activity.EVALUATION, 59.0), (Activity.REDUCE_WAIT, 500.0)],
)
def test_first_steps_and_evaluations_may_take_long_and_who_waits_is_never_the_cause(activity, seconds):
    life = at_work(1)
    assert ended(life.wait(seconds, activity=activity, since=life.now)) == []


def test_where_all_are_silent_it_is_rather_the_network():
    life = at_work(6)
    assert ended(life.wait(29.0, silent={0, 1, 2})) == []
    assert len(ended(life.wait(2.0, silent={0, 1, 2}))) == 3


def test_each_mistake_doubles_the_patience_until_a_step_shows_that_it_was_none():
    life = at_work(6)
    life.wait(3.0, silent={1})
    assert life.gang.trouble.counts == {Fault.HANG: 1}
    life.formed(6)
    assert ended(life.wait(3.5, silent={2})) == []
    assert ended(life.wait(1.0, silent={2})) == [("worker-2", True)]


def test_a_supervisor_that_was_not_running_blames_nobody_for_that_time():
    life = at_work(6)
    life.hear(Tick())
    life.now += 100.0
    assert ended(life.hear(Tick())) == []
    assert ended(life.wait(1.5)) == []


def test_who_falls_silent_while_it_starts_is_replaced_and_who_was_never_heard_of_may_wait_for_its_place():
    life = Life(2, **PATIENCE)
    life.hear(life[0].beat(Activity.STARTUP, 0.0))
    assert ended(life.wait(29.0)) == []
    assert ended(life.wait(2.0)) == [("worker-0", True)]
    assert "worker-1" in life.gang.crew
