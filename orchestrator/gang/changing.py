"""Planned changes: why a healthy generation should stop at its next boundary, and what then."""

from __future__ import annotations

from dataclasses import replace

from orchestrator.gang.balance import gain
from orchestrator.gang.commands import Hold
from orchestrator.gang.forming import Step, cost_of, form
from orchestrator.gang.places import leavers
from orchestrator.gang.states import Draining, Gang, Holding, Member, Paused, Stage
from workers.protocol import Hold as HoldOrder
from workers.protocol import Parked


def hold_if_wanted(gang: Gang, now: float) -> Step:
    """Ask the members to stop at the next boundary, if there is a reason to."""
    wanted = _reason(gang, now)
    if wanted is None:
        return gang, ()
    why, save = wanted
    if why == "drain" and save:
        draining = {node: replace(d, saved=True) for node, d in gang.draining.items()}
        gang = replace(gang, draining=draining)
    return _hold(gang, why, save)


def hold_anew(gang: Gang, why: str) -> Step:
    """A generation that was asked to stop for something else has to save too now, and stay there."""
    return _hold(gang, why, gang.policy.saves) if isinstance(gang.phase, Holding) else (gang, ())


def _hold(gang: Gang, why: str, save: bool) -> Step:
    order = HoldOrder(generation=gang.generation, save=save, pause=gang.paused)
    workers = tuple(member.id for member in gang.members)
    return replace(gang, phase=Holding(why=why, save=save)), (Hold(order=order, workers=workers, why=why),)


def parked(gang: Gang, event: Parked, now: float) -> Step:
    """A member stopped at the boundary; when all have, the change can be made."""
    if event.generation != gang.generation or not gang.is_member(event.worker):
        return gang, ()
    gang = gang.having(event.worker, stage=Stage.PARKED, step=event.step)
    gang = replace(gang, progress_at=now)
    if any(member.stage is not Stage.PARKED for member in gang.members):
        return gang, ()
    if gang.paused or gang.stop_by is not None:
        return replace(gang, phase=Paused()), ()
    why = gang.phase.why if isinstance(gang.phase, Holding) else "held"
    return form(gang, now, why)


def drain(gang: Gang, node: str, seconds: float, now: float) -> Gang:
    """A node's workers must be gone in so many seconds."""
    return replace(gang, draining={**gang.draining, node: Draining(deadline=now + seconds)})


def look_at_speeds(gang: Gang, now: float) -> Step:
    """Every few seconds: would moving virtual ranks from slow workers to fast ones shorten the steps?"""
    if now - gang.balanced_at < gang.policy.balance_every or gang.membership is None:
        return gang, ()
    gang = replace(gang, balanced_at=now)
    members = gang.members
    if any(len(member.costs) < gang.policy.balance_steps for member in members) or len(members) < 2:
        return gang, ()
    costs = [cost_of(gang, member) or 0.0 for member in members]
    loads = [len(vranks) for vranks in _hosted(gang)]
    if gain(loads, costs, gang.policy.virtual_ranks) < gang.policy.balance_gain:
        return gang, ()
    order = HoldOrder(generation=gang.generation)
    workers = tuple(member.id for member in members)
    why = "balance"
    return replace(gang, phase=Holding(why=why)), (Hold(order=order, workers=workers, why=why),)


def _hosted(gang: Gang) -> tuple[tuple[int, ...], ...]:
    return gang.membership.hosted if gang.membership is not None else ()


def _reason(gang: Gang, now: float) -> tuple[str, bool] | None:
    """Why to stop, and whether to save first."""
    if gang.stop_by is not None:
        return "stop", gang.policy.saves
    if gang.paused:
        return "pause", gang.policy.saves
    members, going = gang.members, leavers(gang)
    waiting = [m for m in gang.crew.values() if m.stage is Stage.READY and m.id not in going]
    leaving = [m for m in members if m.id in going]
    staying = len(members) - len(leaving)
    room = min(gang.target, gang.policy.virtual_ranks)
    if waiting and staying < room:
        return "join", False
    if len(members) > room and not (leaving and not staying):
        return "shrink", False
    return _reason_to_drain(gang, leaving, staying, now) if leaving else None


def _reason_to_drain(gang: Gang, leaving: list[Member], staying: int, now: float) -> tuple[str, bool] | None:
    room = min(gang.target, gang.policy.virtual_ranks)
    due = [
        draining
        for node, draining in gang.draining.items()
        if now >= draining.deadline - gang.policy.drain_margin and any(m.node == node for m in leaving)
    ]
    if staying and (due or staying >= room):
        return "drain", False
    if due and gang.policy.saves and not all(draining.saved for draining in due):
        return "drain", True  # nobody elsewhere: what a checkpoint holds can go on later
    return None
