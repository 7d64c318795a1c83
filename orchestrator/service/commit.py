"""Writes down what was decided: each change of a job with its event, its allocation and what it has had so
far."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from orchestrator.records.facts import JobState
from orchestrator.scheduler.actions import Action, Plan, Preempt, Reject, Resize, Start
from orchestrator.scheduler.reasons import Reason
from orchestrator.service.observe import explanation, having, places_of, service_of
from orchestrator.service.settle import Move, rejected
from orchestrator.service.world import World
from orchestrator.store.records import Changes, JobRecord, Note
from orchestrator.store.transaction import Transaction

_SCHEDULER = "scheduler"


def move(tx: Transaction, world: World, record: JobRecord, what: Move, now: float) -> JobRecord:
    """Take a job to another state."""
    changes: Changes = {"attained_service": service_of(record, world.workers(record.id), now)}
    if what.resumes:
        changes["start"] = "resume"
    if what.outcome is not None:
        changes["outcome"] = what.outcome
    if record.explain is not None:
        changes["explain"] = None
    moved = tx.jobs.move(
        record,
        what.after,
        now=now,
        cause=what.cause,
        reason=what.reason,
        who=what.who,
        data=what.data,
        **changes,
    )
    world.put(moved)
    return moved


def resize(
    tx: Transaction, world: World, record: JobRecord, places: Mapping[str, int], now: float, note: Note
) -> None:
    """A job that is at work gets these places; what it has beyond them is its own until it has left."""
    there = {row.node: row.workers for row in world.rows.get(record.id, ())}
    service = service_of(record, world.workers(record.id), now)
    world.hold(tx, record.id, *having(places, there))
    changed = tx.jobs.change(record, now=now, event=note, attained_service=service, last_change_at=now)
    world.put(changed)


def carry_over(tx: Transaction, world: World, plan: Plan, now: float) -> None:
    """All of a plan that was checked again and is to be done."""
    for action in plan.actions:
        _write(tx, world, action, now)
    world.remember(tx, plan)


def _write(tx: Transaction, world: World, action: Action, now: float) -> None:
    match action:
        case Start():
            _start(tx, world, world.records[action.job], places_of(action.placement), now)
        case Resize():
            data = _facts(action.reason, action.for_job) | {"places": places_of(action.placement)}
            reason = action.reason.sentence
            note = Note(
                kind="resize", cause=action.reason.code.value, reason=reason, who=_SCHEDULER, data=data
            )
            resize(tx, world, world.records[action.job], places_of(action.placement), now, note)
        case Preempt():
            move(
                tx,
                world,
                world.records[action.job],
                Move(
                    after=JobState.STOPPING,
                    cause="preempt",
                    reason=action.reason.sentence,
                    who=_SCHEDULER,
                    data=_facts(action.reason, action.for_job),
                ),
                now,
            )
        case Reject():
            move(tx, world, world.records[action.job], rejected(action.reason.sentence), now)


def _start(tx: Transaction, world: World, record: JobRecord, places: Mapping[str, int], now: float) -> None:
    count = sum(places.values())
    reason = (
        f"{count} worker{'' if count == 1 else 's'} on {len(places)} node{'' if len(places) == 1 else 's'}"
    )
    moved = tx.jobs.move(
        record,
        JobState.STARTING,
        now=now,
        cause="plan",
        reason=reason,
        who=_SCHEDULER,
        data={"places": dict(places)},
        attempt=record.attempt + 1,
        explain=None,
    )
    world.put(moved)
    world.hold(tx, record.id, places, {})


def news(world: World, reasons: Mapping[str, Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """Of these reasons, those that are other ones than before; first those of jobs that have none."""
    waiting = [(id, world.records[id]) for id in reasons if id in world.records]
    changed = [
        (record.explain is not None, id)
        for id, record in waiting
        if record.state is JobState.QUEUED and record.explain != reasons[id]
    ]
    return {id: reasons[id] for _, id in sorted(changed, key=lambda pair: pair[0])}


def explanations(
    plan: Plan, waiting: Iterable[JobRecord], resting: Mapping[str, float]
) -> dict[str, Mapping[str, Any]]:
    """What is to be said to each job that waits; jobs that share a reason share what is made of it.

    Args:
        resting: jobs whose start failed, and until when they are left alone.
    """
    made: dict[int, Mapping[str, Any]] = {}
    found: dict[str, Mapping[str, Any]] = {}
    for record in waiting:
        reason = plan.explain.get(record.id)
        if reason is not None:
            if id(reason) not in made:
                made[id(reason)] = explanation(reason)
            found[record.id] = made[id(reason)]
        elif record.id in resting:
            found[record.id] = _rests(record, resting[record.id])
    return found


def _facts(reason: Reason, for_job: str | None) -> dict[str, Any]:
    return {"code": reason.code.value, "facts": dict(reason.facts), "for_job": for_job}


def _rests(record: JobRecord, until: float) -> Mapping[str, Any]:
    return {
        "code": "start_failed",
        "sentence": f"its last start failed: {record.reason}",
        "facts": {"attempt": record.attempt},
        "remedy": "nothing, if that passes: it is tried again",
        "eta": float(round(until)),
    }
