"""Workers that die, hang, fail or lose one another: what that costs, and how the others go on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from orchestrator.exit_codes import FAILED
from orchestrator.gang.commands import Dismiss
from orchestrator.gang.ending import end, end_if_over
from orchestrator.gang.forming import Step, form
from orchestrator.gang.states import (
    Ended,
    Forming,
    Gang,
    Gone,
    Hiring,
    Holding,
    Outcome,
    Stage,
    Training,
    Waiting,
)
from orchestrator.gang.trouble import account, backoff, charge, is_over_budget
from workers.protocol import Broken, Failed, Fault, Lost, Vanished

#: A generation is there that can break, or did.
AT_WORK = (Forming, Training, Holding, Waiting)


def vanished(gang: Gang, event: Vanished, now: float) -> Step:
    """A worker's process is gone, and why will be heard: those who hold the state do not wait for that."""
    member = gang.crew.get(event.worker)
    if member is None or member.stage is Stage.STARTING:
        return gang, ()
    if all(holder is member for holder in gang.holders):
        return gang, ()
    trained = gang.is_member(member.id)
    gone = Gone(member=member, trained=trained, generation=gang.generation, step=gang.step)
    gang = replace(gang.without(member.id), gone={**gang.gone, member.id: gone})
    return _go_on_without(gang, [member.id], now) if trained else (gang, ())


def lost(gang: Gang, event: Lost, now: float) -> Step:
    """A worker's process is gone."""
    if event.worker not in gang.crew and event.worker not in gang.gone:
        return gang, ()  # we ended it ourselves
    outcome = Outcome(
        done=False,
        exit_code=FAILED,
        fault=event.fault,
        message=f"the process died: {event.cause}",
        worker=event.worker,
        by_itself=event.by_itself,
        step=gang.step + 1 if gang.membership is not None else None,
    )
    if event.worker in gang.crew:
        return remove(gang, [(event.worker, outcome)], now)
    gone = gang.gone[event.worker]
    gang = replace(gang, gone={id: other for id, other in gang.gone.items() if id != event.worker})
    if not gone.trained or gang.step > gone.step:  # the step that it may have died of is done
        return gang, ()
    return account(gang, gone, replace(outcome, step=gone.step + 1))


def failed(gang: Gang, event: Failed, now: float) -> Step:
    """A worker cannot go on."""
    if event.worker not in gang.crew:
        return gang, ()
    outcome = Outcome(
        done=False,
        exit_code=event.exit_code,
        fault=event.fault,
        message=event.message,
        trace=event.trace,
        worker=event.worker,
        step=event.step,
    )
    member = gang.crew[event.worker]
    starts_beside = member.stage is Stage.STARTING and gang.membership is not None
    if gang.policy.budgets.get(event.fault) == 0 and not starts_beside:
        return end(gang, outcome)
    if event.fault is Fault.STORAGE and gang.is_member(event.worker):
        gang = gang.having(event.worker, stage=Stage.BROKEN)
        if not isinstance(gang.phase, AT_WORK) or rests(gang):
            return gang, ()  # one failure of the store, however many workers meet it
        return wait_for_storage(gang, outcome, now)
    after, commands = remove(gang, [(event.worker, outcome)], now)
    return after, (*commands, Dismiss(worker=event.worker, why=event.message))


def broken(gang: Gang, event: Broken, now: float) -> Step:
    """A member lost a peer. Whoever is the cause is dead, and will be heard of; unless it is the network."""
    if event.generation != gang.generation or not gang.is_member(event.worker):
        return gang, ()
    gang = gang.having(event.worker, stage=Stage.BROKEN, step=event.step)
    if not isinstance(gang.phase, (Forming, Training, Holding)):
        return gang, ()
    return replace(gang, phase=Waiting(until=now + gang.policy.grace, why=Fault.LINK)), ()


def waited(gang: Gang, now: float) -> Step:
    """Nobody was declared dead, or the store had its rest: all who are left try again."""
    if isinstance(gang.phase, Waiting) and gang.phase.why is Fault.LINK:
        message = "workers lost one another, and none of them is gone"
        outcome = Outcome(done=False, exit_code=FAILED, fault=Fault.LINK, message=message, step=gang.step + 1)
        gang = charge(gang, outcome)
        if is_over_budget(gang, Fault.LINK):
            return end(gang, outcome)
    return form(gang, now, "another try")


def remove(gang: Gang, losses: Sequence[tuple[str, Outcome]], now: float) -> Step:
    """Workers are gone; the others go on without them."""
    trained = [worker for worker, _ in losses if gang.is_member(worker)]
    for worker, outcome in losses:
        member = gang.crew[worker]
        gang = gang.without(worker)
        if member.stage is Stage.STARTING and outcome.fault is not Fault.NODE:
            gang = replace(gang, hiring=_failed_start(gang, now))
            if gang.membership is None and gang.hiring.failures > gang.policy.start_failures:
                return end(gang, outcome)
        if worker in trained:
            gone = Gone(member=member, trained=True, generation=gang.generation, step=gang.step)
            gang, commands = account(gang, gone, outcome)
            if isinstance(gang.phase, Ended):
                return gang, commands
    return _go_on_without(gang, trained, now) if trained else (gang, ())


def _go_on_without(gang: Gang, workers: Sequence[str], now: float) -> Step:
    """The next generation of those who are left, unless nothing is left to do."""
    if not isinstance(gang.phase, AT_WORK):
        return gang, ()
    over, commands = end_if_over(gang)
    if over is not gang:
        return over, commands
    return form(gang, now, f"{', '.join(workers)} gone")


def wait_for_storage(gang: Gang, outcome: Outcome, now: float) -> Step:
    """A store did not answer: have it rest, longer each time."""
    gang = charge(gang, outcome)
    if is_over_budget(gang, Fault.STORAGE):
        return end(gang, outcome)
    until = now + backoff(gang, gang.trouble.counts[Fault.STORAGE])
    return replace(gang, phase=Waiting(until=until, why=Fault.STORAGE)), ()


def rests(gang: Gang) -> bool:
    """Whether a store that did not answer is being given time."""
    return isinstance(gang.phase, Waiting) and gang.phase.why is Fault.STORAGE


def _failed_start(gang: Gang, now: float) -> Hiring:
    failures = gang.hiring.failures + 1
    return replace(gang.hiring, failures=failures, next_at=now + backoff(gang, failures))
