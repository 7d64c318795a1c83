"""Blocks of the data set that cannot be read: all workers leave them out from the same step on."""

from __future__ import annotations

from dataclasses import replace

from orchestrator.exit_codes import WRONG_INPUT
from orchestrator.gang.ending import end
from orchestrator.gang.forming import Step, form
from orchestrator.gang.losses import AT_WORK
from orchestrator.gang.states import Gang, Outcome, Stage
from workers.protocol import Damaged, Fault, LeftOut


def damaged(gang: Gang, event: Damaged, now: float) -> Step:
    """A worker needs a block that is damaged in the store too.

    Whoever needs it next would find the same, so it is not the worker that is at fault. The next generation
    does the step without it, and so do all later ones. Which samples a step has is everybody's business: so
    nobody leaves out a block that the membership does not name.
    """
    if event.worker not in gang.crew:
        return gang, ()
    if event.generation == gang.generation and gang.is_member(event.worker):
        gang = gang.having(event.worker, stage=Stage.BROKEN, step=event.step)
    if any(event.block == known.block for known in gang.left_out):
        return gang, ()
    needed = event.begun if event.begun is not None else gang.step + 1
    left_out = (*gang.left_out, LeftOut(block=event.block, step=needed))
    gang = replace(gang, left_out=tuple(sorted(left_out)))
    if len(gang.left_out) > gang.policy.damaged_blocks:
        return end(gang, _too_many(gang, event))
    return form(gang, now, "a damaged block") if isinstance(gang.phase, AT_WORK) else (gang, ())


def _too_many(gang: Gang, event: Damaged) -> Outcome:
    allowed = gang.policy.damaged_blocks
    message = f"{event.message}\n  → more than {allowed} damaged blocks: repair the data set"
    return Outcome(
        done=False,
        exit_code=WRONG_INPUT,
        fault=Fault.INPUT,
        message=message,
        worker=event.worker,
        step=gang.step + 1,
    )
