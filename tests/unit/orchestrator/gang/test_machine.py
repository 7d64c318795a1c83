"""A job's life as a state machine: how generations come, break and follow one another, and the end."""

from __future__ import annotations

import pytest

from orchestrator.gang import Ended, IllegalEvent, Outcome
from orchestrator.gang.commands import Dismiss, Form, Hire, Recall
from orchestrator.gang.events import (
    Committed,
    Drain,
    Interrupted,
    Pause,
    Recalled,
    RecallFailed,
    Resize,
    Resume,
    Tick,
)
from orchestrator.gang.states import Forming, Gathering, Recalling, Stage, Training, Trouble, Waiting
from tests.support.gang_life import Life, formed_by, none, only, training, w
from workers.protocol import Fault

# --- the first generation ---


def test_a_job_begins_by_hiring_all_its_workers_at_once():
    life = Life(3)
    assert life.told == [Hire(workers=(w(0), w(1), w(2)))]
    assert isinstance(life.gang.phase, Gathering)


def test_the_first_generation_is_formed_when_the_last_worker_is_ready_and_not_before():
    life = Life(3, resume_step=40)
    assert life.ready(2, 0) == []
    form = only(life.ready(1), Form)
    membership = form.membership
    assert (membership.generation, membership.workers) == (0, (w(0), w(1), w(2)))
    assert membership.hosted == ((0, 1, 6), (2, 3, 7), (4, 5))
    assert membership.store == life[0].ready().store
    assert (membership.resume_step, membership.saved_step, membership.committed_step) == (40, 40, 40)
    assert isinstance(life.gang.phase, Forming)


def test_it_is_at_work_when_all_have_met():
    life = Life(3)
    life.ready(0, 1, 2)
    life.hear(life[0].formed(), life[1].formed())
    assert isinstance(life.gang.phase, Forming)
    life.hear(life[2].formed())
    assert isinstance(life.gang.phase, Training)


def test_those_that_are_ready_do_not_wait_for_the_rest_for_ever():
    life = Life(3, gather=60.0)
    life.ready(1)
    assert none(life.wait(59), Form)
    assert formed_by(life.wait(2)) == (w(1),)
    life.formed()
    assert none(life.ready(0), Dismiss), "who comes late joins at a boundary"
    assert life.stages()[0] is Stage.READY


def test_there_are_never_more_workers_than_virtual_ranks():
    life = Life(20)
    assert len(only(life.told, Hire).workers) == 8


# --- losses ---


@pytest.mark.parametrize("dead", [(1,), (0,), (2,), (0, 1), (1, 2)])
def test_survivors_of_a_death_form_the_next_generation_among_themselves(dead):
    life = training(3, step=4)
    commands = life.hear(*(life[number].lost() for number in dead))
    alive = [number for number in range(3) if number not in dead]
    last = [command for command in commands if isinstance(command, Form)][-1]
    assert last.membership.workers == tuple(w(number) for number in alive)
    assert last.membership.generation == len(dead)
    assert sorted(vrank for own in last.membership.hosted for vrank in own) == list(range(8))
    assert last.membership.store == life[alive[0]].ready().store, "a store that somebody alive serves"
    assert isinstance(life.gang.phase, Forming)
    life.formed(step=5)
    assert isinstance(life.gang.phase, Training)


def test_a_dead_worker_is_replaced_under_a_new_name():
    life = training(3)
    assert only(life.hear(life[1].lost()), Hire) == Hire(workers=(w(3),))


def test_survivors_are_left_alone_with_their_first_step_before_a_replacement_takes_their_cpus():
    life = training(3, step=4, hire_delay=1.0)
    assert none(life.hear(life[1].lost()), Hire)
    life.formed(4)
    assert only(life.step(5, 0), Hire)
    assert none(life.hear(life[2].lost()), Hire)
    assert none(life.wait(0.75), Hire)
    assert only(life.wait(0.5), Hire), "the step takes long"


def test_a_lost_connection_waits_for_the_death_that_explains_it():
    life = training(3, step=4, grace=1.0)
    assert life.broken(4, 0, 2) == []
    assert life.gang.phase == Waiting(until=life.now + 1.0, why=Fault.LINK)
    assert formed_by(life.hear(life[1].lost())) == (w(0), w(2))


def test_when_nobody_is_declared_dead_all_try_again():
    life = training(3, step=4, grace=1.0)
    life.broken(4, 0)
    life.broken(5, 2)
    assert none(life.wait(0.75), Form)
    form = only(life.wait(0.5), Form)
    assert form.membership.workers == (w(0), w(1), w(2))
    assert life.gang.crew[w(2)].step == 5


def test_a_network_that_never_holds_ends_the_job():
    life = training(3, step=4)
    for _ in range(6):
        life.broken(4, 0)
        life.wait(1.5)
        if not isinstance(life.gang.phase, Ended):
            life.formed(4)
    assert (life.outcome.fault, life.outcome.step) == (Fault.LINK, 5)
    assert life.gang.generation == 5


def test_what_an_old_generation_reports_late_changes_nothing():
    life = training(3, step=4)
    life.hear(life[1].lost())
    before = life.gang
    assert life.hear(life[0].broken(4, 0), life[2].broken(4, 0), life[0].formed(0, 4)) == []
    assert life.hear(life[0].parked(4, 0), life[0].finished(4, "ab", 0), life[0].saved(4)) == []
    assert life.gang == before
    life.formed(4)
    assert life.hear(life[2].broken(4, 0)) == []
    assert isinstance(life.gang.phase, Training)


def test_a_step_that_a_survivor_reports_late_is_committed_all_the_same():
    life = training(3, step=4)
    life.hear(life[1].lost(), life[0].step_done(5, generation=0))
    assert life.gang.step == 5


def test_reports_of_the_dead_change_nothing():
    life = training(3, step=4)
    life.hear(life[1].lost())
    before = life.gang
    late = (life[1].step_done(5), life[1].broken(4), life[1].beat(), life[1].lost(), life[1].failed())
    assert life.hear(*late, life[1].ready()) == []
    assert life.gang == before


def test_a_death_while_the_next_generation_forms_starts_another_one():
    life = training(3, step=4)
    life.hear(life[1].lost())
    life.hear(life[0].formed(1, 4))
    form = only(life.hear(life[2].lost()), Form)
    assert (form.membership.generation, form.membership.workers) == (2, (w(0),))


@pytest.mark.parametrize("committed", [None, 50])
def test_when_nobody_is_left_the_newest_checkpoint_is_looked_for_and_gone_on_from(committed):
    life = training(2, step=60, saves=True)
    life.hear(life[0].lost())
    commands = life.hear(life[1].lost())
    assert only(commands, Recall)
    assert none(commands, Form)
    assert isinstance(life.gang.phase, Recalling)
    assert life.ready(2) == [], "before it is known what to start from"
    life.hear(Recalled(step=committed))
    assert isinstance(life.gang.phase, Gathering)
    membership = only(life.ready(3), Form).membership
    assert (membership.generation, membership.workers) == (2, (w(2), w(3)))
    assert (membership.resume_step, membership.saved_step) == (committed, committed or 0)
    assert (life.gang.step, life.gang.furthest) == (committed or 0, 60)


def test_without_checkpoints_a_job_that_lost_everybody_starts_over():
    life = training(1, step=60)
    commands = life.hear(life[0].lost())
    assert none(commands, Recall)
    assert only(life.ready(1), Form).membership.resume_step is None


def test_no_checkpoint_that_can_be_restored_is_the_end():
    life = training(1, step=60, saves=True)
    life.hear(life[0].lost())
    life.hear(RecallFailed(message="damaged", exit_code=2, fault=Fault.INPUT))
    assert life.outcome == Outcome(done=False, exit_code=2, fault=Fault.INPUT, message="damaged")


def test_a_store_that_does_not_answer_when_the_checkpoint_is_looked_for_is_asked_again():
    life = training(1, step=60, saves=True)
    life.hear(life[0].lost())
    life.hear(RecallFailed(message="no answer", exit_code=3, fault=Fault.INPUT))
    assert life.gang.phase == Waiting(until=life.now + 1.0, why=Fault.STORAGE)
    assert only(life.wait(1.25), Recall)
    life.hear(Recalled(step=50))
    assert only(life.ready(1), Form).membership.resume_step == 50


def test_who_could_not_read_a_checkpoint_is_taken_in_when_it_has_been_found_again():
    life = Life(2, resume_step=50, saves=True)
    life.ready(0, 1)
    life.hear(life[0].failed(Fault.STORAGE))
    assert only(life.wait(1.25), Recall)
    assert life.hear(life[1].failed(Fault.STORAGE)) == []
    assert formed_by(life.hear(Recalled(step=50))) == (w(0), w(1))


# --- failures ---


@pytest.mark.parametrize("fault", [Fault.USER, Fault.INPUT])
@pytest.mark.parametrize("at", ["before the first generation", "while training"])
def test_what_the_users_code_or_input_causes_ends_the_job_with_the_workers_words(fault, at):
    life = training(3, step=2) if at == "while training" else Life(3)
    life.hear(life[1].failed(fault, step=3, trace="File recipe.py"))
    assert life.outcome == Outcome(
        done=False,
        exit_code=1,
        fault=fault,
        message=f"{fault.value} failure",
        trace="File recipe.py",
        worker=w(1),
        step=3,
    )


def test_a_user_error_is_not_hidden_by_the_broken_connections_that_it_causes():
    life = training(3, step=2)
    life.broken(2, 0, 2)
    life.hear(life[1].failed(Fault.USER, step=3))
    assert (life.outcome.fault, life.outcome.worker) == (Fault.USER, w(1))


@pytest.mark.parametrize(("fault", "allowed"), [(Fault.MEMORY, 3), (Fault.INTERNAL, 2)])
def test_each_class_of_failure_has_a_budget_of_its_own(fault, allowed):
    life = training(6, poison_workers=99, poison_nodes=99, budgets={fault: allowed})
    for number in range(allowed):
        commands = life.hear(life[number].failed(fault, step=1))
        assert only(commands, Dismiss) == Dismiss(worker=w(number), why=f"{fault.value} failure")
        assert w(number) not in formed_by(commands)
        life.formed()
    life.hear(life[allowed].failed(fault, step=1))
    assert (life.outcome.fault, life.outcome.worker) == (fault, w(allowed))


def test_losing_machines_is_never_too_much():
    life = training(1)
    for number in range(50):
        life.hear(life[number].lost(fault=Fault.NODE))
        life.ready(number + 1)
        life.formed()
    assert isinstance(life.gang.phase, Training)


def test_a_new_step_shows_that_the_trouble_is_over():
    life = training(2, step=4)
    life.hear(life[1].lost())
    assert life.gang.trouble.counts == {Fault.CRASH: 1}
    life.formed(4)
    life.step(5)
    assert life.gang.trouble == Trouble()


def test_steps_that_were_reached_before_do_not_show_that_the_trouble_is_over():
    life = training(1, step=60, saves=True)
    life.hear(life[0].lost(), Recalled(step=50))
    life.ready(1)
    life.formed(50)
    life.step(51)
    assert life.gang.trouble.counts == {Fault.CRASH: 1}
    life.step(61)
    assert life.gang.trouble == Trouble()


@pytest.mark.parametrize(("one_node", "deaths"), [(False, 2), (True, 3)])
def test_a_step_that_kills_whoever_computes_it_is_not_tried_for_ever(one_node, deaths):
    life = training(5, step=41, one_node=one_node)
    for number in range(deaths - 1):
        life.hear(life[number].lost())
        life.formed(41)
    assert isinstance(life.gang.phase, Training)
    life.hear(life[deaths - 1].lost("killed by signal 11"))
    assert (life.outcome.fault, life.outcome.step) == (Fault.POISON, 42)
    assert "step 42" in life.outcome.message
    assert "signal 11" in life.outcome.message


def test_workers_that_die_together_are_no_evidence_against_the_step():
    """Those that were still meeting the others had not begun it."""
    life = training(5, step=41)
    life.hear(*(life[number].lost() for number in range(4)))
    assert formed_by(life.told[-2:]) == (w(4),)
    life.formed(41)
    assert isinstance(life.gang.phase, Training)


def test_a_store_that_does_not_answer_is_given_time():
    life = training(3, step=4, saves=True)
    assert life.hear(life[1].failed(Fault.STORAGE, step=5)) == []
    assert life.gang.phase == Waiting(until=life.now + 1.0, why=Fault.STORAGE)
    life.broken(4, 0, 2)
    assert life.gang.phase == Waiting(until=life.now + 1.0, why=Fault.STORAGE)
    assert formed_by(life.wait(1.25)) == (w(0), w(1), w(2))
    life.formed(4)
    life.hear(life[1].failed(Fault.STORAGE, step=5))
    assert life.gang.phase == Waiting(until=life.now + 2.0, why=Fault.STORAGE), "twice as long"


def test_a_store_that_never_answers_ends_the_job():
    life = training(1, step=4, saves=True)
    for attempt in range(11):
        assert not isinstance(life.gang.phase, Ended), attempt
        life.hear(life[0].failed(Fault.STORAGE, step=5))
        life.wait(31)
        if not isinstance(life.gang.phase, Ended):
            life.formed(4)
    assert life.outcome.fault is Fault.STORAGE


# --- starting workers ---


def test_a_worker_that_fails_to_start_beside_a_running_job_is_that_jobs_smallest_problem():
    life = training(2, step=4)
    life.hear(life[1].lost())
    life.formed(4)
    for fault in (Fault.INPUT, Fault.USER, Fault.INTERNAL):
        failed = life.hear(life[life.gang.hiring.named - 1].failed(fault))
        assert only(failed, Dismiss)
        assert none(failed, Hire), "not at once again"
        assert only(life.wait(5), Hire)
    assert isinstance(life.gang.phase, Training)
    assert life.gang.trouble.counts == {Fault.CRASH: 1}


def test_workers_that_die_before_the_first_generation_are_hired_again_a_few_times():
    life = Life(1, start_failures=3)
    for number in range(3):
        life.hear(life[number].lost())
        assert only(life.wait(8), Hire).workers == (w(number + 1),)
    life.hear(life[3].lost("exit code 1"))
    assert (life.outcome.fault, life.outcome.worker) == (Fault.CRASH, w(3))
    assert "exit code 1" in life.outcome.message


# --- any event at any time ---


def test_an_interruption_ends_the_job_at_once_and_without_a_fault():
    for life in (Life(3), training(3)):
        life.hear(Interrupted())
        assert life.outcome == Outcome(done=False, exit_code=130, message="interrupted")


def test_after_the_end_nothing_changes_any_more():
    life = training(3)
    life.hear(Interrupted())
    ended = life.gang
    events = [life[0].ready(), life[0].step_done(9), life[0].lost(), life[0].failed(), Tick(), Pause()]
    assert life.hear(*events, Committed(step=5), Recalled(step=None), Resize(workers=9), Resume()) == []
    assert life.hear(Drain(node="n0", seconds=1.0), Interrupted()) == []
    assert life.gang == ended


def test_what_cannot_be_is_a_bug_that_says_what_it_was():
    with pytest.raises(IllegalEvent, match="Recalled while Training"):
        training(3).hear(Recalled(step=5))
