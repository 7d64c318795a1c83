"""What is true of a job at every moment of its life. A state that breaks one of these is a bug of ours."""

from __future__ import annotations

from orchestrator.gang.states import Ended, Forming, Gang, Holding, Paused, Stage, Training
from workers.protocol import Membership


class InvariantBroken(Exception):
    """A state that must never be."""


def validate(gang: Gang) -> Gang:
    """The state itself, if it can be.

    Raises:
        InvariantBroken: it cannot; the message says why.
    """
    if isinstance(gang.phase, Ended):
        return gang
    if isinstance(gang.phase, (Forming, Training, Holding)):
        _at_work(gang)
    if isinstance(gang.phase, Paused) and any(m.stage is not Stage.PARKED for m in gang.members):
        raise InvariantBroken("paused, and a member is not at the boundary")
    for worker in gang.crew.values():
        if worker.stage is not Stage.STARTING and worker.store is None:
            raise InvariantBroken(f"{worker.id} is {worker.stage}, and nobody knows how to reach it")
        if worker.stage in _MEMBERS and not gang.is_member(worker.id):
            raise InvariantBroken(f"{worker.id} is {worker.stage} and in no generation")
    return gang


_MEMBERS = (Stage.FORMING, Stage.TRAINING, Stage.PARKED, Stage.BROKEN, Stage.FINISHED)


def _at_work(gang: Gang) -> None:
    if gang.membership is None:
        raise InvariantBroken("at work without a membership")
    missing = [worker for worker in gang.membership.workers if worker not in gang.crew]
    if missing:
        raise InvariantBroken(f"generation {gang.generation} goes on without its members {missing}")
    idle = [m.id for m in gang.members if m.stage in (Stage.STARTING, Stage.READY, Stage.BROKEN)]
    if idle:
        raise InvariantBroken(f"generation {gang.generation} is at work, and {idle} are not in it")


def check_membership(membership: Membership, virtual_ranks: int) -> None:
    """Every virtual rank is hosted by exactly one worker, and every worker hosts some.

    Raises:
        InvariantBroken: not so.
    """
    hosted = sorted(vrank for vranks in membership.hosted for vrank in vranks)
    if hosted != list(range(virtual_ranks)) or not all(membership.hosted):
        raise InvariantBroken(f"virtual ranks {membership.hosted} are not 0..{virtual_ranks - 1}, once each")
    if len(set(membership.workers)) != len(membership.workers) != len(membership.hosted):
        raise InvariantBroken(f"{membership.workers} do not host {len(membership.hosted)} shares")
