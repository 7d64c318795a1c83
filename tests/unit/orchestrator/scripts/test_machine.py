from __future__ import annotations

import pytest

from orchestrator.gang.events import Drain, Interrupted, Pause, Resize, Resume, Stop, Tick
from orchestrator.scripts.commands import Dismiss, Hire, Kill, Launch, Retry, Terminate
from orchestrator.scripts.job import Policy
from orchestrator.scripts.machine import IllegalEvent
from orchestrator.scripts.states import Hiring, Paused, Running, Waiting
from tests.support.script_group import Life, exited, failed, gone, up
from workers.protocol import Fault
from workers.script.protocol import Refused


@pytest.fixture
def life() -> Life:
    """Three ranks that run."""
    life = Life()
    life.run()
    assert isinstance(life.group.phase, Running)
    return life


def _kinds(commands) -> list[type]:
    return [type(command) for command in commands]


def test_nothing_starts_before_every_rank_has_its_place():
    life = Life()
    assert life.hear(up(0), up(2)) == []
    (launch,) = life.hear(up(1))
    assert isinstance(launch, Launch)
    assert [order.environment["RANK"] for order in launch.orders] == ["0", "1", "2"]


def test_a_group_is_done_when_its_last_rank_has_ended_with_0(life):
    assert life.hear(exited(0), exited(2)) == []
    assert _kinds(life.hear(exited(1))) == [Dismiss]
    assert life.outcome.done


def test_when_one_rank_fails_all_are_ended_and_only_then_started_again(life):
    (order,) = life.hear(failed(1))
    assert order == Terminate(attempt=0, ranks=(0, 2), why="failure", seconds=5.0)
    assert life.hear(exited(0, signal=15)) == []
    assert _kinds(life.hear(exited(2, signal=15))) == [Dismiss, Retry]
    assert isinstance(life.group.phase, Waiting)
    assert life.hear(Tick(), after=0.5) == []
    (hire,) = life.hear(Tick(), after=0.6)
    assert hire == Hire(attempt=1, ranks=3)


def test_who_does_not_end_is_killed_and_who_survives_that_is_given_up(life):
    life.hear(exited(1, signal=9))
    assert life.hear(Tick(), after=4.9) == []
    assert life.hear(Tick(), after=0.2) == [Kill(attempt=0, ranks=(0, 2))]
    assert life.hear(exited(0, signal=9)) == []
    assert _kinds(life.hear(Tick(), after=10.1)) == [Dismiss, Retry]


def test_the_same_error_twice_in_a_row_ends_the_job_with_its_traceback(life):
    life.hear(failed(1, error="ValueError: no 1"), exited(0, signal=15), exited(2, signal=15))
    life.hear(Tick(), after=2)
    life.run()
    life.hear(failed(1, 1, error="ValueError: no 2"), exited(0, 1, signal=15), exited(2, 1, signal=15))
    outcome = life.outcome
    assert (outcome.fault, outcome.exit_code, outcome.worker) == (Fault.USER, 1, "rank-1")
    assert outcome.message == (
        "rank 1 ended with exit code 1: ValueError: no 2; twice in a row, at the same place"
    )
    assert outcome.trace.endswith("ValueError: no 2\n")


def test_errors_at_other_places_have_a_budget(life):
    for attempt in range(4):
        assert life.outcome is None
        life.hear(failed(0, attempt, line=attempt))
        life.hear(*(exited(rank, attempt, signal=15) for rank in (1, 2)))
        if attempt < 3:
            life.hear(Tick(), after=60)
            life.run()
    assert life.outcome.fault is Fault.USER
    assert "; 4 times" in life.outcome.message


def test_a_lost_node_is_never_too_much(life):
    for attempt in range(30):
        life.hear(gone(2, attempt, fault=Fault.NODE))
        life.hear(exited(0, attempt, signal=15), exited(1, attempt, signal=15))
        life.hear(Tick(), after=60)
        life.run()
    assert life.outcome is None


def test_a_death_by_a_signal_has_a_budget_that_comes_back_when_the_group_settles(life):
    for attempt in range(40):
        life.now += Policy().settled if attempt % 10 == 9 else 0
        life.hear(exited(2, attempt, signal=9))
        life.hear(exited(0, attempt, signal=15), exited(1, attempt, signal=15))
        life.hear(Tick(), after=60)
        life.run()
    assert life.outcome is None
    for attempt in range(40, 60):
        life.hear(exited(2, attempt, signal=9))
        life.hear(exited(0, attempt, signal=15), exited(1, attempt, signal=15))
        if life.outcome is not None:
            break
        life.hear(Tick(), after=60)
        life.run()
    assert life.outcome.fault is Fault.CRASH


def test_waits_double_up_to_a_limit(life):
    waits = []
    for attempt in range(8):
        life.hear(gone(0, attempt, fault=Fault.NODE))
        told = life.hear(exited(1, attempt, signal=15), exited(2, attempt, signal=15))
        waits += [command.seconds for command in told if isinstance(command, Retry)]
        life.hear(Tick(), after=60)
        life.run()
    assert waits == [1, 2, 4, 8, 16, 30, 30, 30]


def test_what_can_never_start_ends_the_job_at_once_as_wrong_input(life):
    life.hear(Refused(rank=0, attempt=0, time=0.0, message="'pyhton' cannot be started"))
    life.hear(exited(1, signal=15), exited(2, signal=15))
    assert (life.outcome.fault, life.outcome.exit_code) == (Fault.INPUT, 2)
    assert life.outcome.message == "'pyhton' cannot be started"


def test_a_preemption_gives_the_grace_time_and_is_no_failure(life):
    (order,) = life.hear(Stop(seconds=60))
    assert order == Terminate(attempt=0, ranks=(0, 1, 2), why="stop", seconds=30.0)
    life.hear(exited(0, code=1), exited(1, signal=15), exited(2))
    assert (life.outcome.stopped, life.outcome.fault, life.outcome.done) == (True, None, False)


def test_a_preemption_waits_no_longer_than_it_says(life):
    life.hear(Stop(seconds=2))
    assert _kinds(life.hear(Tick(), after=2.1)) == [Kill]
    life.hear(*(exited(rank, signal=9) for rank in range(3)))
    assert life.outcome.message == "stopped after SIGTERM, and killed when its time was up"


def test_a_program_that_ends_with_0_on_a_preemption_is_not_done(life):
    """It may have saved and gone. If it had finished, it will say so at once when it is started again."""
    life.hear(Stop(seconds=60), *(exited(rank) for rank in range(3)))
    assert life.outcome.stopped
    assert not life.outcome.done


def test_a_cancel_is_patient_once(life):
    assert _kinds(life.hear(Interrupted())) == [Terminate]
    assert life.hear(Tick(), after=10) == []
    life.hear(Interrupted())
    assert _kinds(life.hear(Tick())) == [Kill]
    life.hear(*(exited(rank, signal=9) for rank in range(3)))
    assert (life.outcome.exit_code, life.outcome.fault) == (130, None)


def test_a_resize_ends_the_group_and_starts_it_with_the_new_size(life):
    (order,) = life.hear(Resize(workers=2))
    assert (order.why, order.seconds) == ("resize", 30.0)
    told = life.hear(*(exited(rank, signal=15) for rank in range(3)))
    assert told == [Dismiss(attempt=0), Hire(attempt=1, ranks=2)]


def test_a_resize_to_what_there_is_changes_nothing(life):
    assert life.hear(Resize(workers=3), Resize(workers=3, places={"n0": 3})) == []
    assert _kinds(life.hear(Resize(workers=3, places={"n0": 2, "n1": 1}))) == [Terminate]


def test_places_that_are_named_anew_while_nothing_runs_are_asked_for_at_once():
    life = Life(places={"n0": 3})
    told = life.hear(Resize(workers=2, places={"n1": 2}))
    assert told == [Dismiss(attempt=0), Hire(attempt=1, ranks=2, places={"n1": 2})]
    assert isinstance(life.group.phase, Hiring)


def test_a_draining_node_ends_the_group_in_its_time_and_is_avoided(life):
    assert life.hear(Drain(node="n7", seconds=5)) == []
    (order,) = life.hear(Drain(node="n0", seconds=5))
    assert (order.why, order.seconds) == ("drain", 5)
    told = life.hear(*(exited(rank, signal=15) for rank in range(3)))
    assert told[1] == Hire(attempt=1, ranks=3, avoid=frozenset({"n0", "n7"}))


def test_a_pause_ends_the_group_and_resume_starts_it_again(life):
    life.hear(Pause(), *(exited(rank, signal=15) for rank in range(3)))
    assert isinstance(life.group.phase, Paused)
    assert life.hear(Tick(), after=1000) == []
    assert life.hear(Resume()) == [Hire(attempt=1, ranks=3)]


def test_who_resumes_before_the_pause_has_begun_gets_a_new_start(life):
    life.hear(Pause(), Resume())
    told = life.hear(*(exited(rank, signal=15) for rank in range(3)))
    assert told == [Dismiss(attempt=0), Hire(attempt=1, ranks=3)]


def test_what_is_heard_of_an_earlier_attempt_changes_nothing(life):
    life.hear(gone(0, fault=Fault.NODE), exited(1, signal=15), exited(2, signal=15))
    life.hear(Tick(), after=5)
    before = life.group
    assert life.hear(exited(0), up(1), failed(2)) == []
    assert life.group == before


def test_what_cannot_be_heard_is_refused(life):
    with pytest.raises(IllegalEvent, match="never begun"):
        life.hear(up(0, attempt=5))
    with pytest.raises(IllegalEvent, match="a rank that does not exist"):
        life.hear(exited(7))
    with pytest.raises(IllegalEvent, match="no event of a group"):
        life.hear("what?")
