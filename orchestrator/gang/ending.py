"""How a job ends."""

from __future__ import annotations

from dataclasses import replace

from orchestrator.exit_codes import INTERRUPTED
from orchestrator.gang.forming import Step
from orchestrator.gang.states import Ended, Gang, Gathering, Outcome, Paused, Recalling, Stage


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


def end_if_stopped(gang: Gang, now: float) -> Step:
    """A job that was told to end does so when what it has done is saved, when nobody is left who could save
    it, or when its time is up."""
    if gang.stop_by is None or is_complete(gang):
        return gang, ()
    saves, begun = gang.policy.saves, isinstance(gang.phase, (Gathering, Recalling)) and not gang.holders
    is_saved = isinstance(gang.phase, Paused) and gang.committed_step >= gang.step
    if saves and not is_saved and not (begun and not gang.committing) and now < gang.stop_by:
        return gang, ()
    lost = gang.step - gang.committed_step
    message = f"stopped after step {gang.committed_step}"
    if lost and not begun:
        message += f"; the {lost} steps after it are not saved"
    step = gang.committed_step if saves else None
    return end(gang, Outcome(done=False, stopped=True, exit_code=INTERRUPTED, message=message, step=step))
