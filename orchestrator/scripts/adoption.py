"""A new supervisor finds the ranks of one that died, and goes on with them, or starts the group again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from orchestrator.scripts.commands import Command
from orchestrator.scripts.ending import hire
from orchestrator.scripts.job import Policy, ScriptJob
from orchestrator.scripts.machine import Step, handle, launch
from orchestrator.scripts.states import Ended, Group, Hiring, Member, Waiting
from workers.protocol import Fault
from workers.script.protocol import Exited, Gone, Recollection, Refused, Started, Up


def adopt(
    job: ScriptJob,
    policy: Policy,
    workers: int,
    places: Mapping[str, int] | None,
    memories: Sequence[Recollection],
    now: float,
) -> Step:
    """The state of a job some of whose ranks were found.

    Args:
        workers, places: how many it should have, and where, if they do not know better.
        memories: of the ranks that answered; the others are gone.
    """
    attempt = max((memory.attempt for memory in memories), default=-1)
    known = {memory.rank: memory for memory in memories if memory.attempt == attempt}
    ranks = next((memory.ranks for memory in known.values()), workers)
    members = tuple(_member(rank, known.get(rank)) for rank in range(ranks))
    if places is not None and known:
        places = dict(Counter(member.up.node_id for member in members if member.up is not None))
    group = Group(
        job=job,
        policy=policy,
        phase=Waiting(until=now),
        target=ranks,
        places=places,
        attempt=attempt,
        members=members if known else (),
    )
    if not known:
        return hire(group, now)
    commands: tuple[Command, ...] = ()
    group = replace(group, phase=Hiring(since=now))
    if all(member.up is not None for member in members):
        group, commands = launch(group, now)  # who runs already takes no notice
    for end in _ends(known, ranks, attempt, now):
        if not isinstance(group.phase, Ended):
            group, more = handle(group, end, now)
            commands += more
    return group, commands


def _member(rank: int, memory: Recollection | None) -> Member:
    reports = memory.reports if memory is not None else ()
    up = next((report for report in reports if isinstance(report, Up)), None)
    started = next((report for report in reports if isinstance(report, Started)), None)
    return Member(rank=rank, up=up, pid=started.pid if started is not None else None)


def _ends(
    known: Mapping[int, Recollection], ranks: int, attempt: int, now: float
) -> list[Exited | Refused | Gone]:
    """How ranks have ended, in order; those that were not found, with their machines."""
    found: list[Exited | Refused | Gone] = [
        report
        for memory in known.values()
        for report in memory.reports
        if isinstance(report, (Exited, Refused, Gone))
    ]
    lost = "it was not found again when the supervisor had to start again"
    found += [
        Gone(rank=rank, attempt=attempt, time=now, cause=lost, fault=Fault.NODE)
        for rank in range(ranks)
        if rank not in known
    ]
    return sorted(found, key=lambda report: report.time)
