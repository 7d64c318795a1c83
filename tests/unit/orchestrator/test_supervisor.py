"""The supervisor carries out what the gang decides. The crew here is a script: it is the edge."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence

import pytest

from orchestrator.gang import Outcome, Policy
from orchestrator.gang.commands import Commit, Form, Hire, Hold
from orchestrator.gang.events import (
    CommitFailed,
    Committed,
    GangEvent,
    Interrupted,
    Pause,
    Recalled,
    RecallFailed,
    Resize,
)
from orchestrator.supervisor import GangBug, Happening, Supervisor
from tests.support.events import FakeWorker
from workers.errors import AccessError, CheckpointError, UnreachableError
from workers.protocol import (
    CheckpointCommitted,
    Fault,
    Membership,
    Memory,
    News,
    Order,
    Placed,
    Stacks,
    StandsBy,
)
from workers.protocol import Hold as HoldOrder

IDS = ("worker-0", "worker-1")
A, B = (FakeWorker(id) for id in IDS)
BOTH_READY: list[News] = [A.ready(), B.ready()]
BOTH_FORMED: list[News] = [A.formed(step=7), B.formed(step=7)]


class ScriptedCrew:
    """Says what the script says, a list at a time, each `seconds` after the one before; keeps its orders."""

    def __init__(self, *script: list[News], seconds: float = 0.1) -> None:
        self._script: Iterator[list[News]] = iter(script)
        self.now, self._seconds = 0.0, seconds
        self.hired: list[tuple[str, ...]] = []
        self.told: list[tuple[str, Order]] = []
        self.dismissed: list[tuple[str, bool]] = []

    def clock(self) -> float:
        return self.now

    def hire(self, workers: Sequence[str], avoid: Collection[str], nodes: Sequence[str] = ()) -> None:
        self.hired.append(tuple(workers))

    def tell(self, worker: str, order: Order) -> None:
        self.told.append((worker, order))

    def hear(self, timeout: float) -> list[News]:
        self.now += self._seconds
        return next(self._script)

    def dismiss(self, worker: str, *, stacks: bool) -> None:
        self.dismissed.append((worker, stacks))

    def orders(self, kind: type) -> list[tuple[str, Order]]:
        return [(worker, order) for worker, order in self.told if isinstance(order, kind)]


class Notebook:
    """Checkpoints that are only written down; or not even that."""

    def __init__(self, newest: int | None = None, refusal: Exception | None = None) -> None:
        self.commits: list[Commit] = []
        self._newest, self._refusal = newest, refusal

    def commit(self, command: Commit) -> None:
        if self._refusal is not None:
            raise self._refusal
        self.commits.append(command)

    def recall(self) -> int | None:
        if self._refusal is not None:
            raise self._refusal
        return self._newest


class Witness:
    def __init__(self) -> None:
        self.seen: list[Happening] = []

    def happened(self, what: Happening) -> None:
        self.seen.append(what)

    def kinds(self) -> str:
        return " ".join(type(what).__name__ for what in self.seen)


def supervised(
    crew: ScriptedCrew,
    notebook: Notebook | None = None,
    idle: Callable[[], None] = lambda: None,
    resume_step: int | None = 7,
) -> tuple[Supervisor, Witness]:
    witness = Witness()
    supervisor = Supervisor(
        crew=crew,
        policy=Policy(virtual_ranks=4, saves=True, hire_delay=0.0),
        workers=2,
        resume_step=resume_step,
        checkpointing=notebook or Notebook(),
        observers=[witness],
        aside=lambda work, then: then(work()),
        idle=idle,
        clock=crew.clock,
    )
    return supervisor, witness


def saved(step: int, generation: int = 0) -> list[News]:
    return [
        A.saved(step, generation=generation, chunks={0: "c"}, draft={"step": step}),
        B.saved(step, generation=generation, chunks={1: "c"}),
    ]


def test_a_whole_life_from_hiring_to_done():
    notebook = Notebook()
    crew = ScriptedCrew(
        [Placed(workers=IDS)],
        BOTH_READY,
        [*BOTH_FORMED, A.step_done(8), B.step_done(8), *saved(8)],
        [A.finished(8, "ab")],
        [B.finished(8)],
    )
    supervisor, witness = supervised(crew, notebook)
    assert supervisor.run() == Outcome(done=True)
    assert crew.hired == [IDS]
    forms = crew.orders(Membership)
    assert [worker for worker, _ in forms] == list(IDS)
    assert forms[0][1] is forms[1][1]
    assert crew.orders(CheckpointCommitted) == [(id, CheckpointCommitted(step=8)) for id in IDS]
    assert notebook.commits == [Commit(step=8, draft={"step": 8}, chunks={0: "c", 1: "c"})]
    assert witness.kinds() == (
        "Hire Placed Ready Ready Form Formed Formed StepDone StepDone Saved Saved Commit"
        " Finished Committed Announce Finished"
    )
    assert crew.dismissed == [(id, False) for id in IDS], "all processes end with the job"


def test_a_death_is_answered_with_a_new_generation_and_a_new_worker():
    crew = ScriptedCrew(BOTH_READY, BOTH_FORMED, [B.lost()], [A.formed(1, 7), A.finished(7, "ab", 1)])
    supervisor, _ = supervised(crew)
    assert supervisor.run().done
    assert crew.hired == [IDS, ("worker-2",)]
    assert [(id, order.generation) for id, order in crew.orders(Membership)] == [
        ("worker-0", 0),
        ("worker-1", 0),
        ("worker-0", 1),
    ]
    assert crew.dismissed == [("worker-0", False), ("worker-2", False)]


def test_one_that_takes_the_place_of_another_goes_on_with_its_workers():
    membership = Membership(generation=3, workers=IDS, hosted=((0, 1), (2, 3)), store="worker-0:1", wanted=2)
    memories = [
        Memory(
            worker=worker.id,
            membership=membership,
            hold=None,
            events=(worker.ready(), worker.formed(3, 7), worker.step_done(9, generation=3)),
            position=3,
        )
        for worker in (A, B)
    ]
    crew = ScriptedCrew([A.step_done(10, generation=3)], [A.lost()], [B.formed(4, 10)], [B.failed(step=11)])
    supervisor, _ = supervised(crew)
    assert supervisor.run(memories).step == 11
    assert crew.hired == [("worker-100",)], "the one before it may have given names that nobody remembers"
    assert [(id, order.generation) for id, order in crew.orders(Membership)] == [("worker-1", 4)]


def test_wishes_are_heard_from_anywhere_and_become_orders():
    crew = ScriptedCrew(BOTH_READY, BOTH_FORMED, [A.parked(8), B.parked(8)], [])
    wishes: list[GangEvent] = [Pause(), Resize(workers=2), Interrupted()]
    supervisor, witness = supervised(crew, idle=lambda: wishes and supervisor.wish(wishes.pop(0)))
    assert supervisor.run().exit_code == 130
    order = HoldOrder(generation=0, save=True, pause=True)
    assert crew.orders(HoldOrder) == [(id, order) for id in IDS]
    assert [what for what in witness.seen if isinstance(what, Hold)] == [
        Hold(order=order, workers=IDS, why="pause")
    ]


def test_a_worker_that_hangs_is_ended_after_it_has_told_its_stacks():
    silence: list[list[News]] = [[B.beat()] for _ in range(40)]
    crew = ScriptedCrew(
        BOTH_READY,
        BOTH_FORMED,
        [A.beat(), B.beat()],
        *silence,
        [Stacks(worker=A.id, text="File stuck.py"), StandsBy(node="n", pid=7)],
        [B.formed(1, 7), B.finished(7, "ab", 1)],
    )
    supervisor, witness = supervised(crew)
    assert supervisor.run().done
    assert (A.id, True) in crew.dismissed
    assert Stacks(worker=A.id, text="File stuck.py") in witness.seen
    assert StandsBy(node="n", pid=7) in witness.seen


def test_a_manifest_that_cannot_be_written_ends_the_job_with_the_stores_words():
    full = Notebook(refusal=CheckpointError("committed already, with other seed", where="file:///runs"))
    crew = ScriptedCrew(BOTH_READY, BOTH_FORMED, saved(8), [])
    supervisor, witness = supervised(crew, full)
    outcome = supervisor.run()
    assert (outcome.done, outcome.exit_code, outcome.fault) == (False, 2, Fault.STORAGE)
    assert "with other seed" in outcome.message
    assert isinstance(witness.seen[-1], CommitFailed)
    assert crew.orders(CheckpointCommitted) == []


def test_a_manifest_whose_store_does_not_answer_is_written_when_it_does():
    notebook = Notebook(refusal=UnreachableError("no answer", where="s3://runs"))
    looks: list[int] = []

    def repair() -> None:
        looks.append(1)
        if len(looks) == 4:
            notebook._refusal = None

    crew = ScriptedCrew(
        BOTH_READY, BOTH_FORMED, saved(8), [], [], [], [A.finished(8, "ab"), B.finished(8)], seconds=0.9
    )
    supervisor, witness = supervised(crew, notebook, repair)
    assert supervisor.run().done
    assert len(notebook.commits) == 1
    kinds = witness.kinds()
    assert kinds.index("CommitFailed") < kinds.index("Committed")


def test_a_bug_while_committing_is_told_as_ours():
    supervisor, _ = supervised(
        ScriptedCrew(BOTH_READY, BOTH_FORMED, saved(8), []), Notebook(refusal=ZeroDivisionError("oops"))
    )
    outcome = supervisor.run()
    assert (outcome.fault, outcome.exit_code) == (Fault.INTERNAL, 1)
    assert "ZeroDivisionError: oops" in outcome.message


def test_when_nobody_is_left_it_goes_on_from_the_newest_checkpoint():
    others: list[News] = [FakeWorker("worker-2").ready(), FakeWorker("worker-3").ready()]
    crew = ScriptedCrew(BOTH_READY, BOTH_FORMED, [A.lost(), B.lost()], [], others, [])
    supervisor, witness = supervised(
        crew, Notebook(newest=6), idle=lambda: crew.now > 0.45 and supervisor.wish(Interrupted())
    )
    assert supervisor.run().exit_code == 130
    assert Recalled(step=6) in witness.seen
    last = [what for what in witness.seen if isinstance(what, Form)][-1].membership
    assert (last.workers, last.resume_step) == (("worker-2", "worker-3"), 6)


@pytest.mark.parametrize(
    ("refusal", "fault", "exit_code"),
    [
        (AccessError("denied", where="s3://runs"), Fault.INPUT, 2),
        (ZeroDivisionError("oops"), Fault.INTERNAL, 1),
    ],
)
def test_a_checkpoint_that_cannot_be_looked_for_ends_the_job(refusal, fault, exit_code):
    crew = ScriptedCrew(BOTH_READY, BOTH_FORMED, [A.lost(), B.lost()], [])
    supervisor, witness = supervised(crew, Notebook(refusal=refusal))
    outcome = supervisor.run()
    assert (outcome.fault, outcome.exit_code) == (fault, exit_code)
    assert isinstance(witness.seen[-1], RecallFailed)


def test_the_clock_ticks_also_when_nobody_says_anything():
    crew = ScriptedCrew([A.ready()], *([[]] * 1000), seconds=0.5)
    supervisor, witness = supervised(crew, idle=lambda: crew.now > 62 and supervisor.wish(Interrupted()))
    supervisor.run()
    (form,) = [what for what in witness.seen if isinstance(what, Form)]
    assert form.membership.workers == ("worker-0",), "the other one did not come"


def test_what_arrives_with_the_end_is_still_shown_and_changes_nothing():
    late: list[News] = [A.failed(Fault.USER, step=1), B.lost(), B.step_done(1)]
    supervisor, witness = supervised(ScriptedCrew(BOTH_READY, BOTH_FORMED, late))
    outcome = supervisor.run()
    assert (outcome.worker, outcome.fault) == (A.id, Fault.USER)
    assert witness.kinds().endswith("Failed Lost StepDone")


def test_signs_of_life_are_not_worth_telling():
    crew = ScriptedCrew(BOTH_READY, [A.beat(), B.beat()], [A.failed()])
    supervisor, witness = supervised(crew)
    supervisor.run()
    assert witness.kinds() == "Hire Ready Ready Form Failed"


def test_the_story_tells_each_transition_with_its_time_and_what_was_done():
    crew = ScriptedCrew(BOTH_READY, BOTH_FORMED, [A.step_done(8)], [A.failed(step=9)])
    supervisor, _ = supervised(crew)
    supervisor.run()
    story = supervisor.story()
    assert "step 7: Ready worker-1 → Forming" in story[1]
    assert "Form(membership=" in story[1]
    assert "Training" in story[2]
    assert story[-1].startswith("0.400 step 8: Failed worker-0 → Ended")
    assert not any("StepDone" in line for line in story), "steps are no news"


def test_what_cannot_be_ends_with_the_story_so_far():
    crew = ScriptedCrew(BOTH_READY, BOTH_FORMED, [])
    supervisor, _ = supervised(crew, idle=lambda: crew.now > 0.15 and supervisor.wish(Recalled(step=3)))
    with pytest.raises(GangBug, match=r"Recalled while Training(.|\n)*Ready worker-1 → Forming"):
        supervisor.run()


def test_a_commit_that_is_done_aside_is_heard_like_everything_else():
    postponed: list[Callable[[], None]] = []
    crew = ScriptedCrew(BOTH_READY, BOTH_FORMED, saved(8), [A.finished(8, "ab"), B.finished(8)], [])
    supervisor, witness = supervised(crew, idle=lambda: crew.now > 0.35 and postponed and postponed.pop()())
    supervisor.aside = lambda work, then: postponed.append(lambda: then(work()))
    assert supervisor.run().done
    assert [what for what in witness.seen if isinstance(what, (Committed, Hire))][-1] == Committed(step=8)
    assert witness.kinds().endswith("Finished Finished Committed Announce")
