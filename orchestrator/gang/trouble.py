"""What failures cost: each class has a budget, and a step that kills whoever computes it ends the job."""

from __future__ import annotations

from dataclasses import replace

from orchestrator.gang.ending import end
from orchestrator.gang.forming import Step
from orchestrator.gang.states import Culprit, Gang, Gone, Outcome, Stage
from workers.protocol import Fault

#: A worker that died of one of these may have died of what it was doing.
_SUSPECT = frozenset({Fault.CRASH, Fault.MEMORY, Fault.INTERNAL})


def account(gang: Gang, gone: Gone, outcome: Outcome) -> Step:
    """Count the loss of a member of a generation; too many of them end the job.

    If processes died in one step, in two generations or more, it is the step that is to blame: what kills
    all who compute it at once uses up the budget before it has been tried often enough to be suspected.
    """
    gang = _suspect(charge(gang, outcome), gone, outcome)
    if is_over_budget(gang, outcome.fault or Fault.INTERNAL):
        again = outcome.fault is Fault.CRASH and len(gang.trouble.culprits) > 1
        return end(gang, _poisoned(gang, outcome) if again else outcome)
    return end(gang, _poisoned(gang, outcome)) if _is_poison(gang) else (gang, ())


def charge(gang: Gang, outcome: Outcome) -> Gang:
    """Count a failure against its class's budget."""
    fault, trouble = outcome.fault or Fault.INTERNAL, gang.trouble
    counts = {**trouble.counts, fault: trouble.counts.get(fault, 0) + 1}
    return replace(gang, trouble=replace(trouble, counts=counts, last=outcome))


def is_over_budget(gang: Gang, fault: Fault) -> bool:
    """Whether a class has failed too often since a step was last committed."""
    budget = gang.policy.budgets.get(fault)
    return budget is not None and gang.trouble.counts.get(fault, 0) > budget


def backoff(gang: Gang, attempts: int) -> float:
    """Seconds to wait after so many failed attempts."""
    return float(min(gang.policy.retry * 2 ** max(0, attempts - 1), gang.policy.retry_max))


def _suspect(gang: Gang, gone: Gone, outcome: Outcome) -> Gang:
    """Remember who died in the middle of which step: who was still meeting the others did not. Of workers
    that die together, in one generation, one counts: what kills a step kills it again."""
    if gone.member.stage is not Stage.TRAINING or outcome.fault not in _SUSPECT:
        return gang
    trouble = gang.trouble
    before = trouble.culprits if trouble.step == gone.step else ()
    if before and trouble.generation == gone.generation:
        return gang
    culprit = Culprit(worker=gone.member.id, node=gone.member.node, by_itself=outcome.by_itself)
    culprits = (*before, culprit)
    trouble = replace(trouble, step=gone.step, generation=gone.generation, culprits=culprits)
    return replace(gang, trouble=trouble)


def _is_poison(gang: Gang) -> bool:
    """Two nodes prove it, unless somebody may just have killed the workers there: then it takes more."""
    culprits = gang.trouble.culprits
    nodes = {culprit.node for culprit in culprits if culprit.by_itself and culprit.node is not None}
    return len(culprits) >= gang.policy.poison_workers or len(nodes) >= gang.policy.poison_nodes


def _poisoned(gang: Gang, last: Outcome) -> Outcome:
    who = ", ".join(f"{culprit.worker} on {culprit.node}" for culprit in gang.trouble.culprits)
    message = f"step {gang.step + 1} kills whoever computes it: {who}; the last time, {last.message}"
    return replace(last, fault=Fault.POISON, message=message, step=gang.step + 1)
