"""Who belongs to the next generation, and who hosts what in it."""

from __future__ import annotations

from dataclasses import replace
from itertools import zip_longest
from statistics import median

from orchestrator.gang.balance import loads_for
from orchestrator.gang.commands import Command, Dismiss, Form, Hire, Recall
from orchestrator.gang.places import leavers, vacant
from orchestrator.gang.states import Forming, Gang, Gathering, Member, Recalling, Stage, Training
from workers.numerics.tree import dyadic_assignment
from workers.protocol import Membership

Step = tuple[Gang, tuple[Command, ...]]


def form(gang: Gang, now: float, why: str) -> Step:
    """The next generation, of all who can take part; without a living state, first that of a checkpoint."""
    if gang.holders:
        return _compose(gang, now, why)
    if gang.membership is not None and gang.policy.saves:
        return _recall(gang)
    return gather(replace(gang, phase=Gathering(), step=gang.resume_step or 0), now)


def gather(gang: Gang, now: float) -> Step:
    """The first generation, when all are ready; or when those that are have waited long enough."""
    ready = [member for member in gang.crew.values() if member.stage is not Stage.STARTING]
    phase = gang.phase if isinstance(gang.phase, Gathering) else Gathering()
    if not ready:
        return replace(gang, phase=Gathering()), ()
    since = now if phase.since is None else phase.since
    missing = min(gang.target, gang.policy.virtual_ranks) - len(ready)
    if missing > 0 and not gang.holders and now - since < gang.policy.gather:
        return replace(gang, phase=Gathering(since=since)), ()
    return _compose(gang, now, "the first generation" if gang.membership is None else "all were lost")


def _recall(gang: Gang) -> Step:
    """First a manifest that the store did not take is tried once more: its chunks are durable."""
    waiting = [saving for saving in gang.committing.values() if saving.retry_at is not None]
    again = {saving.command.step: replace(saving, retry_at=None) for saving in waiting}
    gang = replace(gang, phase=Recalling(), committing={**gang.committing, **again})
    return gang, (*(saving.command for saving in waiting), Recall())


def _compose(gang: Gang, now: float, why: str) -> Step:
    """Send the next generation out, and let go of those who are left out.

    Of these, who holds the furthest state keeps it until the others are seen to have it: they may have died
    unseen, and with them the only copy.
    """
    chosen = choose(gang, now)
    ids = tuple(member.id for member in chosen)
    loads = loads_for([cost_of(gang, member) for member in chosen], gang.policy.virtual_ranks)
    membership = Membership(
        generation=gang.generation + 1,
        workers=ids,
        hosted=dyadic_assignment(gang.policy.virtual_ranks, len(ids), loads),
        store=next(m.store for m in chosen if m.store is not None),
        resume_step=gang.resume_step,
        saved_step=gang.saved_step,
        committed_step=gang.committed_step,
        wanted=gang.target,
        places=gang.places,
        left_out=gang.left_out,
        step=gang.step,
    )
    left = [m for m in gang.crew.values() if m.stage is not Stage.STARTING and m.id not in ids]
    furthest = max(map(_held, gang.holders), default=0)
    kept = [member for member in left if _held(member) == furthest]
    gone = [member for member in left if member not in kept]
    crew = {id: member for id, member in gang.crew.items() if member not in gone}
    crew.update((m.id, replace(m, stage=Stage.LEAVING, why=m.why or why)) for m in kept)
    for member in chosen:
        cost = cost_of(gang, member)
        crew[member.id] = replace(member, stage=Stage.FORMING, why="", costs=(), cost=cost)
    after = replace(
        gang, phase=Forming(since=now), crew=crew, membership=membership, saves={}, progress_at=now
    )
    dismissals = tuple(Dismiss(worker=member.id, why=why) for member in gone)
    keepers = tuple(member.id for member in kept)
    return after, (Form(membership=membership, why=why, keepers=keepers), *dismissals)


def choose(gang: Gang, now: float) -> list[Member]:
    """Who belongs to the next generation, by rank: who is in this one first, then those who wait.

    Workers that are to leave only fill places that nobody else can fill, and not when their node's time is
    up; but somebody who holds the furthest state has to be there to hand it on.
    """
    able, going = _able(gang), leavers(gang)
    room = min(gang.target, gang.policy.virtual_ranks)
    chosen = [member for member in able if member.id not in going][:room]
    leaving = [m for m in able if m.id in going and not (chosen and _is_over(gang, m, now))]
    chosen += leaving[: room - len(chosen)]
    holder = max(gang.holders, key=_held, default=None)
    if holder is not None and all(_held(member) < _held(holder) for member in chosen):
        chosen = [holder, *chosen][: gang.policy.virtual_ranks]
    order = {member.id: place for place, member in enumerate(able)}
    return sorted(chosen, key=lambda member: order[member.id])


def _held(member: Member) -> int:
    return -1 if member.step is None else member.step


def _able(gang: Gang) -> list[Member]:
    """All who are past their start: members by rank, then the others as they were hired."""
    members = gang.members
    ids = {member.id for member in members}
    others = [m for m in gang.crew.values() if m.stage is not Stage.STARTING and m.id not in ids]
    return [*(m for m in members if m.stage is not Stage.STARTING), *others]


def _is_over(gang: Gang, member: Member, now: float) -> bool:
    """Whether a member's node is about to go."""
    draining = gang.draining.get(member.node or "")
    return draining is not None and now >= draining.deadline - gang.policy.drain_margin


def cost_of(gang: Gang, member: Member) -> float | None:
    """Seconds that a member needs for one virtual rank; an earlier answer until there is a new one."""
    return median(member.costs) if len(member.costs) >= gang.policy.balance_steps else member.cost


def hire(gang: Gang, now: float) -> Step:
    """Start as many workers as are missing, unless starting them has just failed."""
    going = leavers(gang)
    staying = [member for member in gang.crew.values() if member.id not in going]
    missing = min(gang.target, gang.policy.virtual_ranks) - len(staying)
    nodes = vacant(gang)[: max(0, missing)] if gang.places is not None else ()
    if gang.places is not None:
        missing = len(nodes)
    if missing <= 0 or gang.stop_by is not None:
        return gang, ()
    if now < gang.hiring.next_at or _is_in_its_first_step(gang, now):
        return gang, ()
    first = gang.hiring.named
    ids = tuple(f"worker-{number}" for number in range(first, first + missing))
    hired = [Member(id=id, since=now, node=node) for id, node in zip_longest(ids, nodes)]
    crew = {**gang.crew, **{member.id: member for member in hired}}
    hiring = replace(gang.hiring, named=first + missing)
    command = Hire(workers=ids, avoid=frozenset(gang.draining), nodes=nodes)
    return replace(gang, crew=crew, hiring=hiring), (command,)


def _is_in_its_first_step(gang: Gang, now: float) -> bool:
    """Whether survivors have just formed a generation and not done a step in it yet."""
    if not isinstance(gang.phase, (Forming, Training)) or gang.generation == 0:
        return False
    begun = any(member.costs for member in gang.members)
    return not begun and now - gang.progress_at < gang.policy.hire_delay
