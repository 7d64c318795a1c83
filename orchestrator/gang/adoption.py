"""A new supervisor finds the workers of one that died, and goes on from what they remember."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from orchestrator.gang.commands import Announce, Command
from orchestrator.gang.ending import end_if_over
from orchestrator.gang.forming import Step, form, gather
from orchestrator.gang.losses import failed
from orchestrator.gang.policy import Policy
from orchestrator.gang.saves import saved
from orchestrator.gang.states import (
    Ended,
    Forming,
    Gang,
    Gathering,
    Hiring,
    Member,
    Paused,
    Stage,
    Training,
    Waiting,
)
from workers.protocol import (
    Broken,
    Damaged,
    Failed,
    Fault,
    Finished,
    Formed,
    Membership,
    Memory,
    Parked,
    Ready,
    Report,
    Saved,
    StepDone,
)

#: Names that one supervisor is taken to have used, at least.
_NAMES = 100

#: What says where a member is, if it came from the current generation.
_STAGES: dict[type, Stage] = {
    Formed: Stage.TRAINING,
    StepDone: Stage.TRAINING,
    Parked: Stage.PARKED,
    Broken: Stage.BROKEN,
    Damaged: Stage.BROKEN,
    Finished: Stage.FINISHED,
}


def adopt(
    policy: Policy,
    workers: int,
    memories: Sequence[Memory],
    committed_step: int | None,
    now: float,
    places: Mapping[str, int] | None = None,
) -> Step:
    """The state of a job whose workers were found alive.

    Args:
        workers, places: how many it should have, and where, if they do not know better.
        memories: of all workers that answered; those that did not are gone.
        committed_step: the newest checkpoint, if there is one.
    """
    known = [memory.membership for memory in memories if memory.membership is not None]
    membership = max(known, key=lambda each: each.generation, default=None)
    crew = {memory.worker: _member(memory, membership, now) for memory in memories}
    step = max((member.step or 0 for member in crew.values()), default=committed_step or 0)
    gang = Gang(
        policy=policy,
        phase=Gathering(),
        target=membership.wanted if membership is not None else workers,
        places=membership.places if membership is not None else places,
        crew=crew,
        membership=membership,
        resume_step=committed_step,
        step=step,
        furthest=step,
        committed_step=committed_step or 0,
        progress_at=now,
        ticked=now,
        balanced_at=now,
        left_out=membership.left_out if membership is not None else (),
        digested=any(_remembers_digest(memory.events) for memory in memories),
        hiring=Hiring(named=_unused(crew, membership)),
    )
    gang, commands = _go_on(gang, memories, now)
    for failure in _unheard_failures(memories):
        if not isinstance(gang.phase, Ended):
            gang, more = failed(gang, failure, now)
            commands += more
    return gang, commands


def _go_on(gang: Gang, memories: Sequence[Memory], now: float) -> Step:
    if gang.membership is None:
        return gather(gang, now)
    if len(gang.members) < len(gang.membership.workers):
        return form(gang, now, "the supervisor died, and so did workers")
    stages = {member.stage for member in gang.members}
    if Stage.BROKEN in stages:
        return replace(gang, phase=Waiting(until=now, why=Fault.STORAGE)), ()
    if stages == {Stage.PARKED}:
        held = [memory.hold for memory in memories if memory.hold is not None]
        if any(hold.pause and hold.generation == gang.generation for hold in held):
            return replace(gang, phase=Paused(), paused=True), ()
        return form(gang, now, "the supervisor died")
    gang = replace(gang, phase=Forming(since=now) if Stage.FORMING in stages else Training())
    commands = _announce(gang)
    for memory in memories:
        for report in memory.events:
            if isinstance(report, Saved) and report.step > gang.saved_step:
                gang, more = saved(gang, report, now)
                commands += more
    over, more = end_if_over(gang)
    return over, commands + more


def _announce(gang: Gang) -> tuple[Command, ...]:
    """That the newest checkpoint is committed: the supervisor may have died before it could say so."""
    workers = tuple(member.id for member in gang.members)
    return (Announce(step=gang.committed_step, workers=workers),) if gang.committed_step else ()


def _member(memory: Memory, current: Membership | None, now: float) -> Member:
    ready = next((report for report in memory.events if isinstance(report, Ready)), None)
    if ready is None:
        return Member(id=memory.worker, heard=now, since=now)
    member = Member(
        id=memory.worker,
        stage=Stage.READY,
        node=ready.node_id,
        store=ready.store,
        step=_held(memory.events),
        heard=now,
        since=now,
    )
    if current is None or memory.worker not in current.workers:
        leaves = current is not None and member.step is not None
        return replace(member, stage=Stage.LEAVING, why="left out before") if leaves else member
    stage = Stage.FORMING
    for report in memory.events:
        if getattr(report, "generation", None) == current.generation:
            stage = _STAGES.get(type(report), stage)
        elif isinstance(report, Failed):
            stage = Stage.BROKEN
    return replace(member, stage=stage)


def _held(events: Iterable[Report]) -> int | None:
    """The step whose state a worker holds."""
    held: int | None = None
    for report in events:
        if isinstance(report, (Formed, StepDone, Parked, Broken, Damaged, Finished)):
            held = report.step if report.step is not None else held
    return held


def _unheard_failures(memories: Sequence[Memory]) -> list[Failed]:
    """Of workers that cannot go on: had the earlier supervisor heard of it, they would not be there. One
    whose store failed can, as soon as it is told to."""
    last = [memory.events[-1] for memory in memories if memory.events]
    return [event for event in last if isinstance(event, Failed) and event.fault is not Fault.STORAGE]


def _remembers_digest(events: Iterable[Report]) -> bool:
    return any(isinstance(report, Finished) and report.state_digest is not None for report in events)


def _unused(crew: Iterable[str], membership: Membership | None) -> int:
    """A number after all names that may have been given: the next hundred, since some of those are gone."""
    known = [*crew, *(membership.workers if membership is not None else ())]
    return (max(map(_number, known), default=0) // _NAMES + 1) * _NAMES


def _number(worker: str) -> int:
    digits = worker.rpartition("-")[2]
    return int(digits) if digits.isdecimal() else -1
