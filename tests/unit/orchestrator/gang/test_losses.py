"""What losses cost: budgets, evidence against a step, and the time that passes before another try."""

from __future__ import annotations

import pytest

from orchestrator.gang import Ended, Gang, Outcome, Policy
from orchestrator.gang.commands import Form, Hire
from orchestrator.gang.events import CommitFailed, Recalled, RecallFailed, Resize, Tick
from orchestrator.gang.policy import BUDGETS
from orchestrator.gang.states import Culprit, Gathering, Recalling, Stage, Trouble, Waiting
from orchestrator.gang.trouble import backoff, charge
from tests.support.gang_life import Life, formed_by, none, only, training, w
from workers.protocol import Failed, Fault, Lost, Vanished

UNREACHABLE = 3


def storage(life: Life, number: int) -> Failed:
    return Failed(
        worker=w(number), time=life.now, fault=Fault.STORAGE, message="no answer", exit_code=UNREACHABLE
    )


def test_every_class_has_a_budget():
    assert set(BUDGETS) == set(Fault)


@pytest.mark.parametrize(
    ("attempts", "seconds"), [(0, 1.0), (1, 1.0), (2, 2.0), (3, 4.0), (5, 16.0), (9, 30.0)]
)
def test_the_wait_doubles_up_to_a_limit(attempts, seconds):
    gang = Gang(policy=Policy(virtual_ranks=1, retry=1.0, retry_max=30.0), phase=Gathering(), target=1)
    assert backoff(gang, attempts) == seconds


def test_failures_are_counted_by_class_and_the_last_one_is_remembered():
    gang = Gang(policy=Policy(virtual_ranks=1), phase=Gathering(), target=1)
    for fault in (Fault.CRASH, Fault.HANG, Fault.CRASH):
        gang = charge(gang, Outcome(done=False, fault=fault, message=fault))
    assert gang.trouble.counts == {Fault.CRASH: 2, Fault.HANG: 1}
    assert gang.trouble.last == Outcome(done=False, fault=Fault.CRASH, message="crash")


def test_one_outage_of_the_store_is_one_failure_however_many_workers_meet_it():
    life = training(3, step=5, saves=True)
    life.hear(*(storage(life, number) for number in range(3)))
    assert life.gang.trouble.counts == {Fault.STORAGE: 1}
    assert isinstance(life.gang.phase, Waiting)
    assert formed_by(life.wait(1.5)) == (w(0), w(1), w(2))


def test_a_store_failure_while_a_checkpoint_is_looked_for_does_not_start_another_search():
    life = training(2, step=5, saves=True, resume_step=None)
    life.gang = life.gang.having(w(1), step=None)
    life.hear(life[0].lost())
    assert life.gang.phase == Recalling()
    assert life.hear(storage(life, 1)) == []
    assert life.gang.phase == Recalling()
    life.hear(RecallFailed(message="no answer", exit_code=UNREACHABLE, fault=Fault.INPUT))
    assert isinstance(life.gang.phase, Waiting)


def test_a_manifest_that_meets_the_same_outage_charges_nobody():
    life = training(2, step=5, saves=True)
    life.saved(5)
    life.hear(CommitFailed(step=5, message="no answer", exit_code=UNREACHABLE))
    life.hear(storage(life, 0), storage(life, 1))
    life.wait(0.5)
    life.hear(CommitFailed(step=5, message="no answer", exit_code=UNREACHABLE))
    assert life.gang.trouble.counts == {Fault.STORAGE: 1}


def test_a_lost_node_is_no_failed_start():
    life = Life(5, start_failures=3)
    life.hear(*(Lost(worker=w(number), cause="node died", fault=Fault.NODE) for number in range(5)))
    assert not isinstance(life.gang.phase, Ended)
    assert life.gang.hiring.failures == 0


def test_workers_that_cannot_start_end_a_job_that_was_never_trained():
    life = Life(5, start_failures=3)
    life.hear(*(life[number].lost() for number in range(4)))
    assert life.outcome.fault is Fault.CRASH


def die_one_after_another(life: Life, fault: Fault = Fault.CRASH, deaths: int = 3) -> None:
    for number in range(deaths):
        life.hear(life[number].lost(fault=fault))
        if isinstance(life.gang.phase, Ended):
            return
        life.formed(life.gang.step)


@pytest.mark.parametrize(
    ("fault", "suspected"), [(Fault.CRASH, True), (Fault.MEMORY, True), (Fault.NODE, False)]
)
def test_who_dies_of_what_a_step_can_do_is_evidence_against_it(fault, suspected):
    life = training(5, step=7)
    die_one_after_another(life, fault)
    assert isinstance(life.gang.phase, Ended) == suspected
    if suspected:
        assert (life.outcome.fault, life.outcome.step) == (Fault.POISON, 8)
        assert "worker-0 on n0, worker-1 on n1" in life.outcome.message


def test_whom_somebody_may_have_killed_is_weaker_evidence():
    """Two in one step, on two nodes: a machine short of memory, an operator. A third one is no accident."""
    life = training(5, step=7)
    for number in range(3):
        assert not isinstance(life.gang.phase, Ended)
        life.hear(life[number].lost("killed by signal 9", by_itself=False))
        if number < 2:
            life.formed(7)
    assert (life.outcome.fault, life.outcome.step) == (Fault.POISON, 8)
    assert "worker-0 on n0, worker-1 on n1, worker-2 on n2" in life.outcome.message


def test_workers_that_die_together_are_one_piece_of_evidence_also_when_nobody_is_left():
    life = training(3, step=7, saves=True)
    life.gang = life.gang.having(w(1), step=None).having(w(2), step=None)
    life.hear(life[0].lost())
    assert life.gang.phase == Recalling()
    before = life.gang.trouble.culprits
    life.hear(life[1].lost(), life[2].lost())
    assert life.gang.trouble.culprits == before
    assert not isinstance(life.gang.phase, Ended)


def test_a_step_that_kills_all_at_once_is_found_before_the_budget_for_crashes_is_blamed():
    life = training(4, step=7, saves=True, budgets={Fault.CRASH: 6}, poison_nodes=99)
    life.hear(*(life[number].lost(by_itself=False) for number in range(4)))
    life.hear(Recalled(step=None))
    life.ready(4, 5, 6, 7)
    life.formed(0)
    life.step(7)
    life.hear(*(life[number].lost(by_itself=False) for number in range(4, 8)))
    assert (life.outcome.fault, life.outcome.step) == (Fault.POISON, 8)


def test_a_step_in_between_shows_that_the_one_before_was_not_the_cause():
    life = training(5, step=7)
    for number in range(3):
        life.hear(life[number].lost())
        life.formed(life.gang.step)
        life.step(life.gang.step + 1)
    assert not isinstance(life.gang.phase, Ended)
    assert life.gang.trouble.culprits == ()


def test_steps_that_were_lost_with_all_workers_count_no_more():
    life = training(1, step=14, poison_nodes=2)
    life.hear(life[0].lost())
    assert life.gang.step == 0
    life.ready(1)
    life.formed(0)
    life.hear(life[1].lost())
    assert not isinstance(life.gang.phase, Ended), "the first died in step 15, the second in step 1"


def test_when_nobody_is_declared_dead_all_try_again_and_that_is_charged():
    life = training(3, step=5)
    life.broken(5, 0, 1)
    assert none(life.hear(Tick()), Form)
    assert only(life.wait(1.25), Form).membership.workers == (w(0), w(1), w(2))
    assert life.gang.trouble.counts == {Fault.LINK: 1}


def gone(*numbers: int) -> list[Vanished]:
    return [Vanished(worker=w(number)) for number in numbers]


def test_who_vanished_is_not_waited_for_and_its_end_is_charged_when_it_is_explained():
    life = training(3, step=5)
    told = life.hear(*gone(1))
    assert formed_by(told) == (w(0), w(2))
    assert only(told, Hire).workers == (w(3),)
    assert life.gang.trouble.counts == {}
    assert life.hear(life[1].lost()) == []
    assert life.gang.trouble.counts == {Fault.CRASH: 1}
    assert life.gang.trouble.culprits == (Culprit(worker=w(1), node="n1", by_itself=True),)
    assert life.gang.gone == {}


def test_an_explanation_that_comes_after_the_step_was_done_by_others_charges_nothing():
    life = training(3, step=5)
    life.hear(*gone(1))
    life.formed(5)
    life.step(6)
    assert life.hear(life[1].lost()) == []
    assert life.gang.trouble == Trouble()


def test_what_the_one_that_vanished_still_says_counts_no_more():
    life = training(3, step=5)
    life.hear(*gone(1))
    assert life.hear(life[1].step_done(6), life[1].broken(5, 0), life[1].beat()) == []
    assert life.gang.step == 5


def test_the_only_one_that_holds_the_state_is_given_up_only_when_it_is_certain():
    life = training(3, step=5, saves=True)
    life.gang = life.gang.having(w(1), step=None).having(w(2), step=None)
    assert life.hear(*gone(0)) == []
    assert life.gang.generation == 0
    life.hear(life[0].lost())
    assert life.gang.phase == Recalling()


def test_vanishing_is_evidence_of_poison_as_dying_is():
    life = training(5, step=7)
    for number in range(3):
        life.hear(*gone(number))
        life.formed(7)
        life.hear(life[number].lost())
        if isinstance(life.gang.phase, Ended):
            break
    assert (life.outcome.fault, life.outcome.step) == (Fault.POISON, 8)


def test_a_worker_that_waits_for_its_place_vanishes_without_a_new_generation():
    life = training(2, step=5)
    life.hear(Resize(workers=3))
    life.ready(2)
    generation = life.gang.generation
    assert none(life.hear(*gone(2)), Form)
    assert life.gang.generation == generation
    life.hear(life[2].lost())
    assert life.gang.trouble.counts == {}


def test_one_that_starts_is_left_to_whoever_watches_processes():
    life = training(2, step=5)
    life.hear(Resize(workers=3))
    assert life.hear(*gone(2)) == []
    assert life.stages()[2] is Stage.STARTING
