"""Workers that die, hang, fail or lose one another: what that costs, and how the others go on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from orchestrator.exit_codes import FAILED
from orchestrator.gang.commands import Dismiss
from orchestrator.gang.ending import end, end_if_over
from orchestrator.gang.forming import Step, form
from orchestrator.gang.states import (
    Forming,
    Gang,
    Hiring,
    Holding,
    Member,
    Outcome,
    Stage,
    Training,
    Waiting,
)
from workers.protocol import Broken, Failed, Fault, Lost

#: A generation is there that can break, or did.
_AT_WORK = (Forming, Training, Holding, Waiting)
#: A worker that died of one of these may have died of what it was doing.
_SUSPECT = frozenset({Fault.CRASH, Fault.MEMORY, Fault.INTERNAL})


def lost(gang: Gang, event: Lost, now: float) -> Step:
    """A worker's process is gone."""
    if event.worker not in gang.crew:
        return gang, ()  # we ended it ourselves
    outcome = Outcome(
        done=False,
        exit_code=FAILED,
        fault=event.fault,
        message=f"the process died: {event.cause}",
        worker=event.worker,
        step=gang.step + 1 if gang.membership is not None else None,
    )
    return remove(gang, [(event.worker, outcome)], now)


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
        if not isinstance(gang.phase, _AT_WORK) or rests(gang):
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
        if _is_over_budget(gang, Fault.LINK):
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
            gang = _suspect(charge(gang, outcome), member, outcome)
            fault = outcome.fault or Fault.INTERNAL
            if _is_over_budget(gang, fault):
                return end(gang, outcome)
            if _is_poison(gang):
                return end(gang, _poisoned(gang, outcome))
    if not trained or not isinstance(gang.phase, _AT_WORK):
        return gang, ()
    over, commands = end_if_over(gang)
    if over is not gang:
        return over, commands
    return form(gang, now, f"{', '.join(trained)} gone")


def charge(gang: Gang, outcome: Outcome) -> Gang:
    """Count a failure against its class's budget."""
    fault, trouble = outcome.fault or Fault.INTERNAL, gang.trouble
    counts = {**trouble.counts, fault: trouble.counts.get(fault, 0) + 1}
    return replace(gang, trouble=replace(trouble, counts=counts, last=outcome))


def backoff(gang: Gang, attempts: int) -> float:
    """Seconds to wait after so many failed attempts."""
    return float(min(gang.policy.retry * 2 ** max(0, attempts - 1), gang.policy.retry_max))


def wait_for_storage(gang: Gang, outcome: Outcome, now: float) -> Step:
    """A store did not answer: have it rest, longer each time."""
    gang = charge(gang, outcome)
    if _is_over_budget(gang, Fault.STORAGE):
        return end(gang, outcome)
    until = now + backoff(gang, gang.trouble.counts[Fault.STORAGE])
    return replace(gang, phase=Waiting(until=until, why=Fault.STORAGE)), ()


def rests(gang: Gang) -> bool:
    """Whether a store that did not answer is being given time."""
    return isinstance(gang.phase, Waiting) and gang.phase.why is Fault.STORAGE


def _failed_start(gang: Gang, now: float) -> Hiring:
    failures = gang.hiring.failures + 1
    return replace(gang.hiring, failures=failures, next_at=now + backoff(gang, failures))


def _is_over_budget(gang: Gang, fault: Fault) -> bool:
    budget = gang.policy.budgets.get(fault)
    return budget is not None and gang.trouble.counts.get(fault, 0) > budget


def _suspect(gang: Gang, member: Member, outcome: Outcome) -> Gang:
    """Remember who died in the middle of which step: who was still meeting the others did not. Of workers
    that die together, in one generation, one counts: what kills a step kills it again."""
    if member.stage is not Stage.TRAINING or outcome.fault not in _SUSPECT:
        return gang
    trouble = gang.trouble
    before = trouble.culprits if trouble.step == gang.step else ()
    if before and trouble.generation == gang.generation:
        return gang
    culprits = (*before, (member.id, member.node))
    trouble = replace(trouble, step=gang.step, generation=gang.generation, culprits=culprits)
    return replace(gang, trouble=trouble)


def _is_poison(gang: Gang) -> bool:
    culprits = gang.trouble.culprits
    nodes = {node for _, node in culprits if node is not None}
    return len(culprits) >= gang.policy.poison_workers or len(nodes) >= gang.policy.poison_nodes


def _poisoned(gang: Gang, last: Outcome) -> Outcome:
    who = ", ".join(f"{worker} on {node}" for worker, node in gang.trouble.culprits)
    message = f"step {gang.step + 1} kills whoever computes it: {who}; the last time, {last.message}"
    return replace(last, fault=Fault.POISON, message=message, step=gang.step + 1)
