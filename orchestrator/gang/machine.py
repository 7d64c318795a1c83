"""The transitions of a job's life. Pure: no clock, no Ray, no I/O; the same events give the same life."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from orchestrator.exit_codes import INTERRUPTED, UNREACHABLE
from orchestrator.gang.changing import drain, hold_anew, hold_if_wanted, look_at_speeds, parked
from orchestrator.gang.commands import Form
from orchestrator.gang.ending import end, end_if_over, end_if_stopped
from orchestrator.gang.events import (
    CommitFailed,
    Committed,
    Drain,
    GangEvent,
    Interrupted,
    Pause,
    Recalled,
    RecallFailed,
    Resize,
    Resume,
    SaveNow,
    Stop,
    Tick,
)
from orchestrator.gang.forming import Step, form, gather, hire
from orchestrator.gang.invariants import check_membership, validate
from orchestrator.gang.losses import broken, failed, lost, vanished, wait_for_storage, waited
from orchestrator.gang.places import let_go
from orchestrator.gang.policy import Policy
from orchestrator.gang.quarantine import damaged
from orchestrator.gang.saves import commit_failed, committed, retry_commits, save_now, saved
from orchestrator.gang.states import (
    Ended,
    Forming,
    Gang,
    Gathering,
    Holding,
    Outcome,
    Paused,
    Phase,
    Recalling,
    Stage,
    Training,
    Trouble,
    Waiting,
)
from orchestrator.gang.watch import beat, find_hanging, find_stuck_starts, wake
from workers.protocol import (
    Beat,
    Broken,
    Damaged,
    Evaluated,
    Failed,
    Fault,
    Finished,
    Formed,
    LeftOut,
    Lost,
    Parked,
    Placed,
    Ready,
    Saved,
    SaveFailing,
    SaveSkipped,
    StepDone,
    Vanished,
)

_RECENT = 20


class IllegalEvent(Exception):
    """An event that has no transition from this phase: a bug of ours, never of the user."""


def start(
    policy: Policy,
    workers: int,
    resume_step: int | None,
    now: float,
    left_out: tuple[LeftOut, ...] = (),
    places: Mapping[str, int] | None = None,
) -> Step:
    """The first state of a job, and the order to start its workers.

    Args:
        workers: how many it should have.
        resume_step: the checkpoint to go on from, or None to start from nothing.
        left_out: damaged blocks that this checkpoint was trained without.
        places: how many workers on each node; None where the cluster chooses.
    """
    gang = Gang(
        policy=policy,
        phase=Gathering(),
        target=workers,
        places=places,
        resume_step=resume_step,
        step=resume_step or 0,
        furthest=resume_step or 0,
        committed_step=resume_step or 0,
        left_out=left_out,
        progress_at=now,
        ticked=now,
        balanced_at=now,
    )
    return hire(gang, now)


def handle(gang: Gang, event: GangEvent, now: float) -> Step:
    """The state after an event that was heard of at `now`, and what is to be done about it.

    Raises:
        IllegalEvent: nothing of the kind can happen in this phase.
        InvariantBroken: a bug of ours, see `orchestrator.gang.invariants`.
    """
    if isinstance(gang.phase, Ended):
        return gang, ()  # what is still on its way from workers changes nothing any more
    transition = _TRANSITIONS[type(event)]
    if type(gang.phase) not in transition.phases:
        raise IllegalEvent(f"{type(event).__name__} while {type(gang.phase).__name__}: {event}")
    gang, commands = transition.carry_out(gang, event, now)
    gang, consequences = _settle(gang, now)
    for command in consequences + commands:
        if isinstance(command, Form):
            check_membership(command.membership, gang.policy.virtual_ranks)
    return validate(gang), commands + consequences


def _settle(gang: Gang, now: float) -> Step:
    """What follows from a state by itself: missing workers are hired, wanted changes are begun."""
    if isinstance(gang.phase, Ended):
        return gang, ()
    gang, commands = end_if_stopped(gang, now)
    if isinstance(gang.phase, Ended):
        return gang, commands
    gang, dismissals = let_go(gang)
    gang, hires = hire(gang, now)
    commands = dismissals + hires
    if not isinstance(gang.phase, Training):
        return gang, commands
    gang, holds = hold_if_wanted(gang, now)
    return gang, commands + holds


def _ready(gang: Gang, event: Ready, now: float) -> Step:
    if event.worker not in gang.crew or gang.crew[event.worker].stage is not Stage.STARTING:
        return gang, ()
    gang = gang.having(event.worker, stage=Stage.READY, node=event.node_id, store=event.store, heard=now)
    gang = replace(gang, hiring=replace(gang.hiring, failures=0))
    return gather(gang, now) if isinstance(gang.phase, Gathering) else (gang, ())


def _placed(gang: Gang, event: Placed, now: float) -> Step:
    for worker in event.workers:
        if worker in gang.crew and gang.crew[worker].heard is None:
            gang = gang.having(worker, heard=now)
    return gang, ()


def _formed(gang: Gang, event: Formed, now: float) -> Step:
    if event.generation != gang.generation or not gang.is_member(event.worker):
        return gang, ()
    gang = gang.having(event.worker, stage=Stage.TRAINING, step=event.step)
    gang = replace(gang, progress_at=now, step=max(gang.step, event.step))
    if isinstance(gang.phase, Forming) and all(m.stage is not Stage.FORMING for m in gang.members):
        gang = replace(gang, phase=Training())
    return gang, ()


def _step_done(gang: Gang, event: StepDone, now: float) -> Step:
    if event.worker not in gang.crew:
        return gang, ()
    member = gang.crew[event.worker]
    if event.generation == gang.generation and gang.membership is not None:
        hosted = len(gang.membership.hosted[gang.membership.workers.index(event.worker)])
        costs = (*member.costs[-_RECENT + 1 :], event.busy_seconds / hosted)
        gang = gang.having(event.worker, step=event.step, costs=costs)
    elif member.step is None or member.step < event.step:  # told of a new generation, and heard late
        gang = gang.having(event.worker, step=event.step)
    if event.step <= gang.step:
        return gang, ()
    seconds = (*gang.step_seconds[-_RECENT + 1 :], event.seconds)
    gang = replace(gang, step=event.step, step_seconds=seconds, progress_at=now)
    if event.step <= gang.furthest:
        return gang, ()  # what was reached before does not show that the trouble is over
    return replace(gang, furthest=event.step, trouble=Trouble()), ()


def _evaluated(gang: Gang, event: Evaluated, now: float) -> Step:
    took = max(gang.evaluation_seconds, now - gang.progress_at)  # since the step before it
    return replace(gang, progress_at=now, evaluation_seconds=took), ()


def _told(gang: Gang, event: SaveFailing | SaveSkipped, now: float) -> Step:
    """For the job's history: nothing has to be done about it."""
    return gang, ()


def _finished(gang: Gang, event: Finished, now: float) -> Step:
    if event.generation != gang.generation or not gang.is_member(event.worker):
        return gang, ()
    gang = gang.having(event.worker, stage=Stage.FINISHED, step=event.step)
    digested = gang.digested or event.state_digest is not None
    return end_if_over(replace(gang, digested=digested, step=max(gang.step, event.step), progress_at=now))


def _tick(gang: Gang, event: Tick, now: float) -> Step:
    gang = wake(gang, now)
    gang, commands = retry_commits(gang, now)
    gang, starts = find_stuck_starts(gang, now)
    commands += starts
    match gang.phase:
        case Gathering():
            gang, more = gather(gang, now)
        case Waiting(until=until) if now >= until:
            gang, more = waited(gang, now)
        case Forming() | Holding():
            gang, more = find_hanging(gang, now)
        case Training():
            gang, more = find_hanging(gang, now)
            if isinstance(gang.phase, Training):
                gang, balancing = look_at_speeds(gang, now)
                more += balancing
        case _:
            more = ()
    return gang, commands + more


def _recalled(gang: Gang, event: Recalled, now: float) -> Step:
    step = event.step or 0
    after = replace(gang, phase=Gathering(), resume_step=event.step, step=step, committed_step=step)
    return gather(replace(after, committing={}), now)


def _recall_failed(gang: Gang, event: RecallFailed, now: float) -> Step:
    if event.exit_code == UNREACHABLE:  # it is not the checkpoints that are wrong
        fault = Fault.STORAGE
        outcome = Outcome(done=False, exit_code=UNREACHABLE, fault=fault, message=event.message)
        return wait_for_storage(gang, outcome, now)
    outcome = Outcome(done=False, exit_code=event.exit_code, fault=event.fault, message=event.message)
    return end(gang, outcome)


def _resize(gang: Gang, event: Resize, now: float) -> Step:
    return replace(gang, target=event.workers, places=event.places), ()


def _drain(gang: Gang, event: Drain, now: float) -> Step:
    return drain(gang, event.node, event.seconds, now), ()


def _pause(gang: Gang, event: Pause, now: float) -> Step:
    return hold_anew(replace(gang, paused=True), "pause")


def _stop(gang: Gang, event: Stop, now: float) -> Step:
    by = now + event.seconds
    return hold_anew(replace(gang, stop_by=by if gang.stop_by is None else min(by, gang.stop_by)), "stop")


def _resume(gang: Gang, event: Resume, now: float) -> Step:
    gang = replace(gang, paused=False)
    return form(gang, now, "resume") if isinstance(gang.phase, Paused) else (gang, ())


def _interrupted(gang: Gang, event: Interrupted, now: float) -> Step:
    return end(gang, Outcome(done=False, exit_code=INTERRUPTED, message="interrupted"))


class _Transition:
    """What an event does, and in which phases it can happen at all."""

    def __init__(self, carry_out: Callable[[Gang, Any, float], Step], *phases: type[Phase]) -> None:
        self.carry_out, self.phases = carry_out, phases or _ALIVE


_ALIVE = (Gathering, Forming, Training, Holding, Waiting, Recalling, Paused)
_BEGUN = (Forming, Training, Holding, Waiting, Recalling, Paused, Gathering)

#: Every legal transition. What is not here cannot happen.
_TRANSITIONS: dict[type, _Transition] = {
    Ready: _Transition(_ready),
    Placed: _Transition(_placed),
    Formed: _Transition(_formed),
    StepDone: _Transition(_step_done),
    Evaluated: _Transition(_evaluated),
    Saved: _Transition(saved),
    SaveFailing: _Transition(_told),
    SaveSkipped: _Transition(_told),
    Parked: _Transition(parked),
    Broken: _Transition(broken),
    Damaged: _Transition(damaged),
    Finished: _Transition(_finished),
    Failed: _Transition(failed),
    Lost: _Transition(lost),
    Vanished: _Transition(vanished),
    Beat: _Transition(beat),
    Tick: _Transition(_tick),
    Committed: _Transition(committed),
    CommitFailed: _Transition(commit_failed),
    Recalled: _Transition(_recalled, Recalling),
    RecallFailed: _Transition(_recall_failed, Recalling),
    Resize: _Transition(_resize),
    Drain: _Transition(_drain),
    Pause: _Transition(_pause),
    Resume: _Transition(_resume),
    Stop: _Transition(_stop),
    SaveNow: _Transition(save_now),
    Interrupted: _Transition(_interrupted),
}
