"""Where workers should be, if somebody outside decides that: who has to leave, and which places are empty."""

from __future__ import annotations

from orchestrator.gang.commands import Dismiss
from orchestrator.gang.states import Gang, Holding, Member, Stage, Training


def leavers(gang: Gang) -> frozenset[str]:
    """Workers that are to go: from nodes that go away, or more than their node should have.

    Of those on a node, members of the generation stay first, by rank; then who is ready; then who starts.
    """
    going = {member.id for member in gang.crew.values() if member.node in gang.draining}
    if gang.places is None:
        return frozenset(going)
    left = dict(gang.places)
    for member in _in_order(gang):
        if member.id in going:
            continue
        node = member.node or ""
        if left.get(node, 0) > 0:
            left[node] -= 1
        else:
            going.add(member.id)
    return frozenset(going)


def vacant(gang: Gang) -> tuple[str, ...]:
    """A node for each worker that is missing at its place."""
    going = leavers(gang)
    found: list[str] = []
    for node in sorted(gang.places or ()):
        there = sum(m.node == node and m.id not in going for m in gang.crew.values())
        if node not in gang.draining:
            found += [node] * ((gang.places or {})[node] - there)
    return tuple(found)


def let_go(gang: Gang) -> tuple[Gang, tuple[Dismiss, ...]]:
    """End workers that nobody would miss: those that are to go and hold no state, and those that kept one
    for a generation that has it now."""
    going = leavers(gang) if gang.places is not None else frozenset()
    why = {m.id: "placed elsewhere" for m in gang.crew.values() if m.id in going and _is_idle(gang, m)}
    if isinstance(gang.phase, (Training, Holding)):
        why |= {m.id: m.why for m in gang.crew.values() if m.stage is Stage.LEAVING}
    for worker in why:
        gang = gang.without(worker)
    return gang, tuple(Dismiss(worker=worker, why=text) for worker, text in why.items())


def _is_idle(gang: Gang, member: Member) -> bool:
    return not gang.is_member(member.id) and member.step is None


def _in_order(gang: Gang) -> list[Member]:
    members = gang.members
    ids = {member.id for member in members}
    others = [member for member in gang.crew.values() if member.id not in ids]
    return [*members, *sorted(others, key=lambda member: member.stage is Stage.STARTING)]
