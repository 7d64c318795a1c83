"""A job's life as a state machine: every legal event, every illegal one, and random lives."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.gang import Ended, Outcome, Starting, State, Training, handle, start
from orchestrator.gang.commands import Announce, Command, Commit, Form
from orchestrator.gang.events import CommitFailed, Committed, GangEvent, Interrupted, Lost
from orchestrator.gang.machine import FAILED, INTERRUPTED, IllegalEvent
from tests.support.events import FakeWorker
from workers.protocol import Failed, Fault, Saved

IDS = ("w0", "w1", "w2")
W0, W1, W2 = (FakeWorker(id) for id in IDS)
ALL = (W0, W1, W2)


def saved(worker: FakeWorker, step: int) -> Saved:
    """Each worker brings one chunk; the first one the draft."""
    number = int(worker.id[1:])
    draft = {"step": step} if number == 0 else None
    return replace(worker.saved(step), chunks={number: f"chunk {number}"}, draft=draft)


def after(state: State, *events: GangEvent) -> tuple[State, list[Command]]:
    commands: list[Command] = []
    for event in events:
        state, more = handle(state, event)
        commands += more
    return state, commands


def training(resume_step: int | None = None) -> Training:
    state, _ = after(start(IDS, 8, resume_step), *(worker.ready() for worker in ALL))
    assert isinstance(state, Training)
    return state


def outcome(state: State) -> Outcome:
    assert isinstance(state, Ended), state
    return state.outcome


def test_a_generation_is_formed_when_the_last_worker_is_ready_and_not_before():
    state, commands = after(start(IDS, 8, 40), W2.ready(), W0.ready())
    assert isinstance(state, Starting)
    assert commands == []
    state, commands = after(state, W1.ready())
    assert isinstance(state, Training)
    assert commands == [Form(membership=state.membership)]
    membership = state.membership
    assert (membership.generation, membership.workers, membership.resume_step) == (0, IDS, 40)
    assert membership.hosted == ((0, 1, 6), (2, 3, 7), (4, 5))
    assert membership.store == W0.ready().store


def test_a_checkpoint_is_committed_when_all_chunks_are_durable_and_then_announced():
    state, commands = after(training(), saved(W1, 5), saved(W0, 5))
    assert commands == []
    state, commands = after(state, saved(W2, 5))
    chunks = {0: "chunk 0", 1: "chunk 1", 2: "chunk 2"}
    assert commands == [Commit(step=5, draft={"step": 5}, chunks=chunks)]
    state, commands = after(state, Committed(step=5))
    assert commands == [Announce(step=5, workers=IDS)]
    assert state == training()


def test_a_job_is_done_when_all_have_finished_and_everything_is_committed():
    state, _ = after(training(), *(saved(worker, 9) for worker in ALL), W0.finished(9), W1.finished(9))
    assert isinstance(state, Training)
    state, _ = after(state, W2.finished(9))
    assert isinstance(state, Training), "done while a manifest was not written"
    state, commands = after(state, Committed(step=9))
    assert outcome(state) == Outcome(done=True)
    assert commands == [Announce(step=9, workers=IDS)]


def test_without_checkpoints_it_is_done_with_the_last_worker():
    state, commands = after(training(), *(worker.finished(9) for worker in ALL))
    assert outcome(state).done
    assert commands == []


@pytest.mark.parametrize("fault", [fault for fault in Fault if fault is not Fault.PEER])
def test_a_fault_of_its_own_ends_the_job_with_the_workers_words(fault):
    failed = replace(W1.failed(fault, step=3, trace="File recipe.py"), exit_code=2)
    for state in (start(IDS, 8, None), training()):
        end = outcome(handle(state, failed)[0])
        assert end == Outcome(
            done=False,
            exit_code=2,
            fault=fault,
            message=failed.message,
            trace="File recipe.py",
            worker="w1",
            step=3,
        )


@pytest.mark.parametrize(
    "cause",
    [W1.failed(Fault.USER), Lost(worker="w1", cause="SIGKILL"), Interrupted()],
    ids=lambda cause: type(cause).__name__,
)
def test_a_broken_exchange_waits_for_its_cause(cause):
    state, _ = after(training(), W0.failed(Fault.PEER), W2.failed(Fault.PEER))
    assert isinstance(state, Training)
    end = outcome(handle(state, cause)[0])
    assert end.worker == getattr(cause, "worker", None)


def test_when_everybody_lost_the_others_the_first_report_is_the_cause():
    reports = [W2.failed(Fault.PEER, step=4), W0.failed(Fault.PEER, step=5), W1.failed(Fault.PEER, step=4)]
    end = outcome(after(training(), *reports)[0])
    assert (end.worker, end.fault, end.done) == ("w2", Fault.PEER, False)


@pytest.mark.parametrize("finished_first", [True, False])
def test_those_that_have_finished_cannot_name_a_cause(finished_first):
    """Else the job would wait for ever."""
    finished, broken = W0.finished(9), [W1.failed(Fault.PEER), W2.failed(Fault.PEER)]
    events: list[GangEvent] = [finished, *broken] if finished_first else [*broken, finished]
    assert outcome(after(training(), *events)[0]).worker == "w1"


def test_a_worker_that_dies_after_it_has_finished_is_not_missed():
    state, _ = after(training(), W0.finished(9), Lost(worker="w0", cause="exit"))
    assert isinstance(state, Training)
    assert outcome(after(state, W1.finished(9), W2.finished(9))[0]).done


def test_a_worker_that_dies_earlier_ends_the_job():
    for state in (start(IDS, 8, None), training()):
        end = outcome(handle(state, Lost(worker="w1", cause="SIGKILL"))[0])
        assert (end.worker, end.fault, end.exit_code) == ("w1", Fault.PEER, FAILED)
        assert "SIGKILL" in end.message


def test_a_manifest_that_cannot_be_written_ends_the_job():
    state, _ = after(training(), *(saved(worker, 5) for worker in ALL))
    end = outcome(handle(state, CommitFailed(step=5, message="disk full", exit_code=2))[0])
    assert (end.exit_code, end.fault, end.message, end.step) == (2, Fault.STORAGE, "disk full", 5)


def test_an_interruption_ends_the_job_without_a_fault():
    for state in (start(IDS, 8, None), training()):
        assert outcome(handle(state, Interrupted())[0]) == Outcome(
            done=False, exit_code=INTERRUPTED, message="interrupted"
        )


ONE_OF_EACH: list[GangEvent] = [
    W0.ready(),
    saved(W0, 5),
    W0.finished(9),
    W0.failed(),
    Lost(worker="w0", cause="exit"),
    Committed(step=5),
    CommitFailed(step=5, message="", exit_code=1),
    Interrupted(),
]
ILLEGAL = {Starting: {"Saved", "Finished", "Committed", "CommitFailed"}, Training: {"Ready"}, Ended: set()}


@pytest.mark.parametrize("event", ONE_OF_EACH, ids=lambda event: type(event).__name__)
@pytest.mark.parametrize(
    "state",
    [start(IDS, 8, None), training(), Ended(outcome=Outcome(done=True))],
    ids=lambda state: type(state).__name__,
)
def test_every_event_is_legal_or_illegal_in_every_state(state, event):
    if type(event).__name__ in ILLEGAL[type(state)]:
        with pytest.raises(IllegalEvent, match=type(event).__name__):
            handle(state, event)
    elif isinstance(state, Ended):
        assert handle(state, event) == (state, ())
    else:
        handle(state, event)


class Life:
    """Workers that keep the protocol, events that arrive in a random order, and faults at random moments."""

    def __init__(self, random: Random, workers: int, saves: int, commits: bool) -> None:
        self.random, self.commits = random, commits
        self.workers = [FakeWorker(f"w{number}") for number in range(workers)]
        steps = range(1, saves + 1)
        self.left: dict[str, list[GangEvent]] = {
            worker.id: [worker.ready(), *(saved(worker, step) for step in steps), worker.finished(saves)]
            for worker in self.workers
        }
        self.state: State = start(tuple(self.left), 8, None)
        self.announced = 0
        self.committed: set[int] = set()

    def hear(self, event: GangEvent) -> None:
        before = self.state
        self.state, commands = handle(before, event)
        if isinstance(self.state, Ended) and self.state.outcome.done and not isinstance(before, Ended):
            assert isinstance(before, Training)
            assert before.saves == {}
            assert before.committing <= {getattr(event, "step", None)}
        for command in commands:
            if isinstance(command, Commit):
                assert sorted(command.chunks) == list(range(len(self.workers)))
                fails = CommitFailed(step=command.step, message="full", exit_code=2)
                self.hear(Committed(step=command.step) if self.commits else fails)
            elif isinstance(command, Announce):
                self.announced = command.step
                self.committed.add(command.step)

    def may_speak(self, worker: str) -> bool:
        """Ready workers wait for the others; a save waits for the commit of the one before."""
        event = self.left[worker][0] if self.left[worker] else None
        if event is None or (isinstance(self.state, Starting) and not hasattr(event, "pid")):
            return False
        return not isinstance(event, Saved) or event.step <= self.announced + 1

    def speak(self) -> bool:
        speakers = [worker for worker in self.left if self.may_speak(worker)]
        if speakers:
            self.hear(self.left[self.random.choice(speakers)].pop(0))
        return bool(speakers)

    def break_down(self) -> None:
        """One worker fails or dies, and all that still need it report a broken exchange."""
        order = [worker for worker in self.workers if self.left[worker.id]]
        if not order:
            return
        self.random.shuffle(order)
        cause: GangEvent = Lost(worker=order[0].id, cause="SIGKILL")
        if self.random.random() < 0.5:
            cause = order[0].failed(self.random.choice(list(Fault)))
        reports: list[GangEvent] = [cause]
        if not isinstance(self.state, Starting):
            reports += [worker.failed(Fault.PEER) for worker in order[1:]]
        self.random.shuffle(reports)
        for report in reports:
            self.hear(report)
        for worker in self.left:
            self.left[worker] = []


@given(
    st.randoms(use_true_random=False),
    st.integers(1, 4),
    st.integers(0, 3),
    st.booleans(),
    st.integers(0, 30),
)
def test_every_life_ends_and_never_as_done_with_a_save_pending(random, workers, saves, commits, fault_at):
    life = Life(random, workers, saves, commits)
    told = 0
    while told != fault_at and life.speak():
        told += 1
    undisturbed = not any(life.left.values())
    life.break_down()
    end = outcome(life.state)
    assert end.done == (undisturbed and (commits or not saves))
    if end.done:
        assert life.committed == set(range(1, saves + 1))
    else:
        assert end.exit_code != 0
        assert isinstance(end.fault, Fault)
    assert isinstance(
        handle(life.state, Failed(worker="w0", time=0.0, fault=Fault.USER, message=""))[0], Ended
    )
