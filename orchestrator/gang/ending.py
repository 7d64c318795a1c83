"""How a job ends."""

from __future__ import annotations

from dataclasses import replace

from orchestrator.gang.forming import Step
from orchestrator.gang.states import Ended, Gang, Outcome, Stage


def end(gang: Gang, outcome: Outcome) -> Step:
    """Nothing happens any more. Whoever carries the gang out ends the workers."""
    return replace(gang, phase=Ended(outcome=outcome)), ()


def is_complete(gang: Gang) -> bool:
    """Whether all that a job has to leave behind is there, or on its way without needing a worker."""
    finished = gang.members and all(member.stage is Stage.FINISHED for member in gang.members)
    return bool(finished) and gang.digested and (not gang.policy.saves or gang.saved_step >= gang.step)


def end_if_over(gang: Gang) -> Step:
    """Done means: every member has finished, and no checkpoint is half written."""
    if is_complete(gang) and not gang.committing and not gang.saves:
        return end(gang, Outcome(done=True))
    return gang, ()
