"""The transitions of a job's life. Pure: no clock, no Ray, no I/O; the same events give the same life."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from orchestrator.exit_codes import FAILED, INTERRUPTED
from orchestrator.gang.commands import Announce, Command, Commit, Form
from orchestrator.gang.events import CommitFailed, Committed, GangEvent, Interrupted, Lost
from orchestrator.gang.states import Ended, Outcome, Starting, State, Training
from workers.numerics.tree import dyadic_assignment
from workers.protocol import Failed, Fault, Finished, Membership, Ready, Saved

Step = tuple[State, tuple[Command, ...]]


class IllegalEvent(Exception):
    """An event that has no transition from this state: a bug of ours, never of the user."""


def start(workers: tuple[str, ...], virtual_ranks: int, resume_step: int | None) -> Starting:
    """The first state of a job with these workers.

    Args:
        resume_step: the checkpoint to go on from, or None to start from nothing.
    """
    return Starting(workers=workers, virtual_ranks=virtual_ranks, resume_step=resume_step)


def handle(state: State, event: GangEvent) -> Step:
    """The state after an event, and what is to be done about it.

    Raises:
        IllegalEvent: nothing of the kind can happen in this state.
    """
    if isinstance(state, Ended):
        return state, ()  # what is still on its way from workers changes nothing any more
    transition = _TRANSITIONS.get((type(state), type(event)))
    if transition is None:
        raise IllegalEvent(f"{type(event).__name__} in state {type(state).__name__}: {event}")
    return transition(state, event)


def _ready(state: Starting, event: Ready) -> Step:
    ready = {**state.ready, event.worker: event}
    if len(ready) < len(state.workers):
        return replace(state, ready=ready), ()
    membership = Membership(
        generation=0,
        workers=state.workers,
        hosted=dyadic_assignment(state.virtual_ranks, len(state.workers)),
        store=ready[state.workers[0]].store,
        resume_step=state.resume_step,
    )
    return Training(membership=membership), (Form(membership=membership),)


def _saved(state: Training, event: Saved) -> Step:
    reports = {**state.saves.get(event.step, {}), event.worker: event}
    if len(reports) < len(state.membership.workers):
        return replace(state, saves={**state.saves, event.step: reports}), ()
    saves = {step: reports for step, reports in state.saves.items() if step != event.step}
    draft = next(report.draft for report in reports.values() if report.draft is not None)
    chunks = {number: record for report in reports.values() for number, record in report.chunks.items()}
    after = replace(state, saves=saves, committing=state.committing | {event.step})
    return after, (Commit(step=event.step, draft=draft, chunks=chunks),)


def _committed(state: Training, event: Committed) -> Step:
    after = _end_if_over(replace(state, committing=state.committing - {event.step}))
    return after, (Announce(step=event.step, workers=state.membership.workers),)


def _finished(state: Training, event: Finished) -> Step:
    return _end_if_over(replace(state, finished=state.finished | {event.worker})), ()


def _end_if_over(state: Training) -> State:
    """Done means: every worker has finished, and no checkpoint is half written.

    When those that have not finished have all lost one another, nobody is left to name the cause: the first
    report stands for it.
    """
    if state.finished | state.broken.keys() < set(state.membership.workers):
        return state
    if state.broken:
        return Ended(outcome=next(iter(state.broken.values())))
    return state if state.saves or state.committing else Ended(outcome=Outcome(done=True))


def _failed(state: Starting | Training, event: Failed) -> Step:
    outcome = Outcome(
        done=False,
        exit_code=event.exit_code,
        fault=event.fault,
        message=event.message,
        trace=event.trace,
        worker=event.worker,
        step=event.step,
    )
    if event.fault is not Fault.PEER or isinstance(state, Starting):
        return Ended(outcome=outcome), ()
    # A broken exchange is an effect; its cause is reported by somebody else, unless everybody says the same.
    return _end_if_over(replace(state, broken={**state.broken, event.worker: outcome})), ()


def _lost(state: Starting | Training, event: Lost) -> Step:
    if isinstance(state, Training) and event.worker in state.finished:
        return state, ()  # it owes nothing any more
    message = f"the process died: {event.cause}"
    outcome = Outcome(done=False, exit_code=FAILED, fault=Fault.PEER, message=message, worker=event.worker)
    return Ended(outcome=outcome), ()


def _commit_failed(state: Training, event: CommitFailed) -> Step:
    outcome = Outcome(
        done=False, exit_code=event.exit_code, fault=event.fault, message=event.message, step=event.step
    )
    return Ended(outcome=outcome), ()


def _interrupted(state: State, event: Interrupted) -> Step:
    return Ended(outcome=Outcome(done=False, exit_code=INTERRUPTED, message="interrupted")), ()


#: Every legal transition. What is not here cannot happen.
_TRANSITIONS: dict[tuple[type, type], Callable[[Any, Any], Step]] = {
    (Starting, Ready): _ready,
    (Starting, Failed): _failed,
    (Starting, Lost): _lost,
    (Starting, Interrupted): _interrupted,
    (Training, Saved): _saved,
    (Training, Committed): _committed,
    (Training, CommitFailed): _commit_failed,
    (Training, Finished): _finished,
    (Training, Failed): _failed,
    (Training, Lost): _lost,
    (Training, Interrupted): _interrupted,
}
