"""A new supervisor goes on from what the workers of a dead one remember."""

from __future__ import annotations

from dataclasses import replace

from orchestrator.gang import Ended, Gang, Policy, adopt, handle
from orchestrator.gang.commands import Announce, Command, Commit, Dismiss, Form, Hire
from orchestrator.gang.events import Tick
from orchestrator.gang.states import Forming, Gathering, Paused, Stage, Training
from tests.support.events import FakeWorker
from tests.support.gang_life import only, w
from workers.protocol import Hold, Membership, Memory, Report

A, B = FakeWorker(w(0)), FakeWorker(w(1))
MEMBERSHIP = Membership(
    generation=4, workers=(w(0), w(1)), hosted=((0, 1), (2, 3)), store="worker-0:1", wanted=2
)


def memory(worker: FakeWorker, *events: Report, hold: Hold | None = None, told: bool = True) -> Memory:
    return Memory(
        worker=worker.id,
        membership=MEMBERSHIP if told else None,
        hold=hold,
        events=events,
        position=len(events),
    )


def adopted(
    *memories: Memory, committed_step: int | None = None, workers: int = 2
) -> tuple[Gang, list[Command]]:
    policy = Policy(virtual_ranks=4, saves=True, hire_delay=0.0)
    gang, commands = adopt(policy, workers, memories, committed_step, 1000.0)
    return gang, list(commands)


def at_work(worker: FakeWorker, step: int) -> tuple[Report, ...]:
    return worker.ready(), worker.formed(4, 3), worker.step_done(step, generation=4)


def test_a_generation_that_is_at_work_is_left_at_it():
    gang, commands = adopted(memory(A, *at_work(A, 8)), memory(B, *at_work(B, 9)), committed_step=5)
    assert isinstance(gang.phase, Training)
    assert commands == [Announce(step=5, workers=(w(0), w(1)))], "nobody is told to do anything else"
    assert (gang.membership, gang.step, gang.furthest, gang.committed_step) == (MEMBERSHIP, 9, 9, 5)
    assert [member.step for member in gang.members] == [8, 9]
    assert [(member.node, member.store) for member in gang.members] == [("n0", f"{w(n)}:1") for n in (0, 1)]


def test_one_that_has_not_met_yet_is_waited_for():
    gang, commands = adopted(memory(A, A.ready()), memory(B, *at_work(B, 3)))
    assert isinstance(gang.phase, Forming)
    assert [member.stage for member in gang.members] == [Stage.FORMING, Stage.TRAINING]
    assert commands == []


def test_who_was_left_out_and_not_let_go_yet_is_let_go_when_the_others_are_at_work():
    c = FakeWorker(w(2))
    left = replace(memory(c, c.ready(), c.formed(3, 7)), membership=replace(MEMBERSHIP, generation=3))
    gang, _ = adopted(memory(A, *at_work(A, 8)), memory(B, *at_work(B, 8)), left)
    assert gang.crew[w(2)].stage is Stage.LEAVING
    _, commands = handle(gang, Tick(), 1000.1)
    assert [command.worker for command in commands if isinstance(command, Dismiss)] == [w(2)]


def test_who_died_with_the_supervisor_is_not_waited_for():
    gang, commands = adopted(memory(A, *at_work(A, 8)))
    membership = only(commands, Form).membership
    assert (membership.generation, membership.workers) == (5, (w(0),))
    assert isinstance(gang.phase, Forming)


def test_workers_that_were_never_told_of_a_generation_form_the_first_one():
    gang, commands = adopted(memory(A, A.ready(), told=False), memory(B, B.ready(), told=False))
    assert only(commands, Form).membership.generation == 0
    gang, commands = adopted(memory(A, A.ready(), told=False), memory(B, told=False))
    assert isinstance(gang.phase, Gathering)
    assert gang.crew[w(1)].stage is Stage.STARTING


def test_a_pause_goes_on_and_another_hold_does_not():
    stand = [(worker, (*at_work(worker, 8), worker.parked(8, 4))) for worker in (A, B)]
    pause = Hold(generation=4, pause=True)
    gang, commands = adopted(*(memory(worker, *events, hold=pause) for worker, events in stand))
    assert isinstance(gang.phase, Paused)
    assert gang.paused
    assert commands == []
    for other in (Hold(generation=4), Hold(generation=3, pause=True)):
        gang, commands = adopted(*(memory(worker, *events, hold=other) for worker, events in stand))
        assert only(commands, Form).membership.workers == (w(0), w(1))


def test_a_checkpoint_whose_chunks_are_all_durable_is_committed():
    chunk = {"generation": 4, "chunks": {0: "c"}}
    saved = [
        memory(A, *at_work(A, 8), A.saved(8, draft={"step": 8}, **chunk)),
        memory(B, *at_work(B, 8), replace(B.saved(8, **chunk), chunks={1: "c"})),
    ]
    _, commands = adopted(*saved)
    assert commands == [Commit(step=8, draft={"step": 8}, chunks={0: "c", 1: "c"})]
    _, commands = adopted(*saved, committed_step=8)
    assert commands == [Announce(step=8, workers=(w(0), w(1)))], "that was done, and maybe not said"


def test_a_job_that_was_done_is_done():
    done = [(*at_work(worker, 9), worker.finished(9, digest, 4)) for worker, digest in ((A, "ab"), (B, None))]
    gang, _ = adopted(memory(A, *done[0]), memory(B, *done[1]), committed_step=9)
    assert isinstance(gang.phase, Ended)
    assert gang.phase.outcome.done


def test_how_many_workers_are_wanted_is_remembered_and_names_are_not_used_twice():
    gang, _ = adopted(memory(A, *at_work(A, 8)), memory(FakeWorker(w(7)), told=False), workers=3)
    assert gang.target == 2
    assert gang.hiring.named >= 8


def test_where_nobody_is_left_the_job_begins_as_at_first():
    gang, commands = adopted(committed_step=5)
    assert isinstance(gang.phase, Gathering)
    assert (gang.resume_step, gang.step) == (5, 5)
    assert [command for command in commands if not isinstance(command, Hire)] == []
