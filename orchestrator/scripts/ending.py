"""What comes after the end of a group: another start, a pause, or the end of the job."""

from __future__ import annotations

from dataclasses import replace

from orchestrator.exit_codes import INTERRUPTED
from orchestrator.gang.states import Outcome
from orchestrator.scripts.causes import Cause, find_cause
from orchestrator.scripts.commands import Command, Dismiss, Hire, Retry
from orchestrator.scripts.states import (
    Ended,
    Ending,
    Group,
    Hiring,
    Member,
    Paused,
    Trouble,
    Waiting,
    Why,
)

_Step = tuple[Group, tuple[Command, ...]]


def finish(group: Group) -> _Step:
    """Every rank has ended with exit code 0."""
    return _over(group, Outcome(done=True)), (Dismiss(attempt=group.attempt),)


def conclude(group: Group, ending: Ending, now: float) -> _Step:
    """Nothing of the group runs any more, or nothing that listens: its places are given back.

    A failure while it was being ended for something else is none: programs may end as they like on SIGTERM.
    """
    dismissals = (Dismiss(attempt=group.attempt),) if group.members else ()
    more: tuple[Command, ...] = ()
    match ending.why:
        case Why.CANCEL:
            after = _over(group, Outcome(done=False, exit_code=INTERRUPTED))
        case Why.STOP:
            message = "stopped after SIGTERM" + (", and killed when its time was up" if ending.killed else "")
            outcome = Outcome(done=False, stopped=True, exit_code=INTERRUPTED, message=message)
            after = _over(group, outcome)
        case Why.PAUSE:
            after = replace(group, phase=Paused(), members=())
        case Why.FAILURE:
            after, more = _account(group, find_cause(group.members), now - ending.since, now)
        case Why.RESIZE | Why.DRAIN:
            after, more = hire(group, now)
    return after, (*dismissals, *more)


def hire(group: Group, now: float) -> _Step:
    """Begin another attempt."""
    attempt = group.attempt + 1
    members = tuple(Member(rank=rank) for rank in range(group.target))
    group = replace(group, phase=Hiring(since=now), attempt=attempt, members=members)
    order = Hire(attempt=attempt, ranks=group.target, places=group.places, avoid=group.avoid)
    return group, (order,)


def _over(group: Group, outcome: Outcome) -> Group:
    return replace(group, phase=Ended(outcome=outcome), members=())


def _account(group: Group, cause: Cause, ran: float, now: float) -> _Step:
    """Count a failure against its class's budget, and start again if there is something left of it."""
    policy, before = group.policy, group.trouble
    if ran >= policy.settled:
        before = replace(before, counts={}, in_a_row=0)
    counts = {**before.counts, cause.fault: before.counts.get(cause.fault, 0) + 1}
    trouble = Trouble(counts=counts, in_a_row=before.in_a_row + 1, signature=cause.signature)
    group = replace(group, trouble=trouble)
    if cause.signature is not None and cause.signature == before.signature:
        return _over(group, cause.outcome(f"{cause.message}; twice in a row, at the same place")), ()
    budget = policy.budgets.get(cause.fault)
    if budget is not None and counts[cause.fault] > budget:
        times = f"; {counts[cause.fault]} times" if budget else ""
        return _over(group, cause.outcome(cause.message + times)), ()
    seconds = float(min(policy.retry * 2 ** (trouble.in_a_row - 1), policy.retry_max))
    retry = Retry(
        attempt=group.attempt,
        reason=cause.message,
        cause=cause.fault.value,
        rank=cause.rank,
        trace=cause.trace,
        seconds=seconds,
    )
    return replace(group, phase=Waiting(until=now + seconds), members=()), (retry,)
