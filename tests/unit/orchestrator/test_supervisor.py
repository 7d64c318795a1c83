"""The supervisor carries out what the gang decides. The crew here is a script: it is the edge."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from orchestrator.gang import Outcome
from orchestrator.gang.commands import Commit, Form
from orchestrator.gang.events import CommitFailed, Committed, GangEvent, Interrupted, Lost
from orchestrator.interruption import Interruption
from orchestrator.supervisor import Supervisor
from tests.support.events import FakeWorker
from workers.errors import AccessError
from workers.protocol import CheckpointCommitted, Event, Failed, Fault, Membership, Order, Saved, StepDone

A, B = FakeWorker("a"), FakeWorker("b")


class ScriptedCrew:
    """Says what the script says, a list at a time; remembers what it was told."""

    workers = ("a", "b")

    def __init__(self, *script: list[Event | Lost]) -> None:
        self._script: Iterator[list[Event | Lost]] = iter(script)
        self.told: list[tuple[str, Order]] = []

    def tell(self, worker: str, order: Order) -> None:
        self.told.append((worker, order))

    def hear(self, timeout: float) -> list[Event | Lost]:
        return next(self._script)


class Witness:
    def __init__(self) -> None:
        self.seen: list[Event | GangEvent | Form] = []

    def happened(self, event: Event | GangEvent | Form) -> None:
        self.seen.append(event)


def supervised(
    crew: ScriptedCrew,
    commit: Callable[[Commit], object] = lambda command: None,
    idle: Callable[[], None] = lambda: None,
) -> tuple[Supervisor, Witness]:
    witness = Witness()
    supervisor = Supervisor(
        crew=crew,
        virtual_ranks=4,
        resume_step=7,
        commit=commit,
        observers=[witness],
        idle=idle,
        interruption=Interruption(),
    )
    return supervisor, witness


def saved(worker: FakeWorker, step: int) -> Saved:
    number = crew_number(worker)
    return replace(worker.saved(step), chunks={number: "c"}, draft={"step": step} if number == 0 else None)


def crew_number(worker: FakeWorker) -> int:
    return ScriptedCrew.workers.index(worker.id)


def test_a_whole_life_from_ready_to_done():
    commits: list[Commit] = []
    crew = ScriptedCrew(
        [],
        [A.ready(), B.ready()],
        [A.formed(step=7), B.formed(step=7), A.step_done(8), B.step_done(8)],
        [saved(A, 8)],
        [saved(B, 8), A.finished(8)],
        [B.finished(8)],
    )
    supervisor, witness = supervised(crew, commits.append)
    assert supervisor.run() == Outcome(done=True)
    forms = [order for _, order in crew.told if isinstance(order, Membership)]
    assert [order.hosted for order in forms] == [((0, 1), (2, 3))] * 2
    assert {order.resume_step for order in forms} == {7}
    announced = [(worker, order) for worker, order in crew.told if isinstance(order, CheckpointCommitted)]
    assert announced == [(worker, CheckpointCommitted(step=8)) for worker in crew.workers]
    assert commits == [Commit(step=8, draft={"step": 8}, chunks={0: "c", 1: "c"})]
    kinds = " ".join(type(event).__name__ for event in witness.seen)
    beginning, end = (
        "Ready Ready Form Formed Formed StepDone StepDone",
        "Saved Saved Committed Finished Finished",
    )
    assert kinds == f"{beginning} {end}"


def test_a_manifest_that_cannot_be_written_ends_the_job_with_the_stores_words():
    def full(command: Commit) -> object:
        raise AccessError("No space left on device", where="file:///runs")

    crew = ScriptedCrew([A.ready(), B.ready()], [saved(A, 8), saved(B, 8)])
    supervisor, witness = supervised(crew, full)
    outcome = supervisor.run()
    assert (outcome.done, outcome.exit_code, outcome.fault) == (False, 2, Fault.STORAGE)
    assert "No space left" in outcome.message
    assert isinstance(witness.seen[-1], CommitFailed)
    assert not any(isinstance(order, CheckpointCommitted) for _, order in crew.told)


def test_a_bug_while_committing_is_not_mistaken_for_a_refusal():
    def broken(command: Commit) -> object:
        raise ZeroDivisionError

    supervisor, _ = supervised(ScriptedCrew([A.ready(), B.ready()], [saved(A, 8), saved(B, 8)]), broken)
    with pytest.raises(ZeroDivisionError):
        supervisor.run()


def request(supervisor: Supervisor) -> None:
    supervisor.interruption.requested = True


def test_an_interruption_is_seen_at_the_next_look():
    looks: list[int] = []
    crew = ScriptedCrew([A.ready()], [])
    supervisor, witness = supervised(crew, idle=lambda: looks.append(1) or request(supervisor))
    assert supervisor.run().exit_code == 130
    assert len(looks) == 2
    assert [type(event) for event in witness.seen] == [type(A.ready()), Interrupted]


def test_what_arrives_with_the_end_is_still_shown_and_changes_nothing():
    late = [A.failed(Fault.USER, step=1), Lost(worker="b", cause="killed"), B.step_done(1)]
    supervisor, witness = supervised(ScriptedCrew([A.ready(), B.ready()], [*late]))
    outcome = supervisor.run()
    assert (outcome.worker, outcome.fault) == ("a", Fault.USER)
    assert [type(event) for event in witness.seen[-3:]] == [Failed, Lost, StepDone]


def test_a_commit_is_carried_out_before_the_next_event_is_looked_at():
    seen: list[str] = []
    crew = ScriptedCrew([A.ready(), B.ready()], [saved(A, 8), saved(B, 8), A.finished(8), B.finished(8)])
    supervisor, witness = supervised(crew, lambda command: seen.append("commit"))
    assert supervisor.run().done
    kinds = [type(event) for event in witness.seen]
    assert kinds.index(Committed) < kinds.index(type(A.finished(8)))
    assert seen == ["commit"]
