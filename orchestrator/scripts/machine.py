"""A script job's life: `handle(group, event, now) -> (group, commands)`. The clock arrives with the event.

The group lives and dies as a whole: all its ranks are placed, or none; all are started at once; when one
fails, or a change is wanted, all are ended, and only when nothing of them is left they are placed again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from orchestrator.gang.events import Drain, Interrupted, Pause, Resize, Resume, SaveNow, Stop, Tick, Wish
from orchestrator.scripts.commands import Command, Kill, Launch, Terminate
from orchestrator.scripts.ending import conclude, finish, hire
from orchestrator.scripts.job import Policy, ScriptJob
from orchestrator.scripts.states import (
    Ended,
    Ending,
    Group,
    Hiring,
    Member,
    Paused,
    Running,
    Waiting,
    Why,
)
from orchestrator.scripts.torchrun import environments
from workers.protocol import Fault
from workers.script.protocol import Exited, Gone, Line, Placed, Refused, Report, ScriptNews, Started, Up
from workers.script.protocol import Launch as LaunchOrder

Event = ScriptNews | Tick | Wish
Step = tuple[Group, tuple[Command, ...]]


class IllegalEvent(Exception):
    """The group heard of what cannot be: a bug of ours."""


def start(job: ScriptJob, policy: Policy, workers: int, places: Mapping[str, int] | None, now: float) -> Step:
    """The first state of a job, and the order to find places for its ranks."""
    group = Group(job=job, policy=policy, phase=Waiting(until=now), target=workers, places=places)
    return hire(group, now)


def handle(group: Group, event: Event, now: float) -> Step:
    """What follows from an event.

    Raises:
        IllegalEvent: nothing like it can happen.
    """
    if isinstance(group.phase, Ended):
        return group, ()
    if isinstance(event, (Report, Placed)) and event.attempt != group.attempt:
        if event.attempt > group.attempt:
            raise IllegalEvent(f"{event} is of an attempt that was never begun; this is {group.attempt}")
        return group, ()
    transition = _TRANSITIONS.get(type(event))
    if transition is None:
        raise IllegalEvent(f"{event!r} is no event of a group")
    return transition(group, event, now)


# --- what is heard of ranks ---


def _up(group: Group, event: Up, now: float) -> Step:
    if not isinstance(group.phase, Hiring):
        return group, ()
    group = group.having(replace(_member(group, event), up=event))
    ups = [member.up for member in group.members if member.up is not None]
    return launch(group, now) if len(ups) == len(group.members) else (group, ())


def launch(group: Group, now: float) -> Step:
    """Start all ranks; each of them has its place."""
    ups = [member.up for member in group.members if member.up is not None]
    orders = tuple(
        LaunchOrder(command=group.job.command, environment=environment)
        for environment in environments(group.job, ups, group.attempt)
    )
    return replace(group, phase=Running(since=now)), (Launch(attempt=group.attempt, orders=orders),)


def _started(group: Group, event: Started, now: float) -> Step:
    return group.having(replace(_member(group, event), pid=event.pid)), ()


def _over(group: Group, event: Exited | Refused | Gone, now: float) -> Step:
    """A rank has ended."""
    member = _member(group, event)
    if member.end is not None:
        return group, ()
    group = group.having(replace(member, end=event, told=isinstance(group.phase, Ending)))
    if isinstance(group.phase, Ending):
        return (group, ()) if group.living else conclude(group, group.phase, now)
    if isinstance(group.phase, Hiring):
        return conclude(group, Ending(why=Why.FAILURE, kill_at=now, since=now), now)
    if not isinstance(group.phase, Running):
        return group, ()
    if isinstance(event, Exited) and event.code == 0:
        return (group, ()) if group.living else finish(group)
    return _end(group, Why.FAILURE, group.policy.failure_grace, now)


# --- time ---


def _tick(group: Group, event: Tick, now: float) -> Step:
    phase = group.phase
    if isinstance(phase, Waiting) and now >= phase.until:
        return hire(group, now)
    if not isinstance(phase, Ending) or now < phase.kill_at:
        return group, ()
    if not phase.killed:
        killed = replace(phase, killed=True, kill_at=now + group.policy.killed)
        return replace(group, phase=killed), (Kill(attempt=group.attempt, ranks=group.living),)
    for rank in group.living:  # its machine does not do what it is told
        gone = Gone(
            rank=rank, attempt=group.attempt, time=now, cause="does not end after SIGKILL", fault=Fault.NODE
        )
        group = group.having(replace(group.members[rank], end=gone, told=True))
    return conclude(group, phase, now)


# --- wishes ---


def _resize(group: Group, event: Resize, now: float) -> Step:
    same = event.workers == group.target and event.places == group.places
    group = replace(group, target=event.workers, places=event.places)
    return (group, ()) if same or _is_as_wanted(group) else _end(group, Why.RESIZE, group.job.grace, now)


def _is_as_wanted(group: Group) -> bool:
    """Whether the ranks that run are where they should be."""
    if not isinstance(group.phase, Running) or len(group.members) != group.target:
        return False
    there = Counter(member.up.node_id for member in group.members if member.up is not None)
    return group.places is None or dict(there) == {node: n for node, n in group.places.items() if n}


def _drain(group: Group, event: Drain, now: float) -> Step:
    group = replace(group, avoid=group.avoid | {event.node})
    if not any(member.up is not None and member.up.node_id == event.node for member in group.members):
        return group, ()
    return _end(group, Why.DRAIN, min(group.job.grace, event.seconds), now)


def _pause(group: Group, event: Pause, now: float) -> Step:
    return _end(replace(group, paused=True), Why.PAUSE, group.job.grace, now)


def _resume(group: Group, event: Resume, now: float) -> Step:
    group = replace(group, paused=False)
    if isinstance(group.phase, Paused):
        return hire(group, now)
    if isinstance(group.phase, Ending) and group.phase.why is Why.PAUSE:
        return replace(group, phase=replace(group.phase, why=Why.RESIZE)), ()
    return group, ()


def _stop(group: Group, event: Stop, now: float) -> Step:
    return _end(group, Why.STOP, min(group.job.grace, event.seconds), now)


def _interrupted(group: Group, event: Interrupted, now: float) -> Step:
    """The second time, without waiting."""
    again = isinstance(group.phase, Ending) and group.phase.why is Why.CANCEL
    return _end(group, Why.CANCEL, 0.0 if again else group.job.grace, now)


def _nothing(group: Group, event: Event, now: float) -> Step:
    return group, ()


def _end(group: Group, why: Why, seconds: float, now: float) -> Step:
    """End the group for a reason, or remember the reason where it is ended already."""
    phase = group.phase
    if isinstance(phase, Ending):
        kill_at = phase.kill_at if phase.killed else min(phase.kill_at, now + seconds)
        return replace(group, phase=replace(phase, why=max(why, phase.why), kill_at=kill_at)), ()
    if isinstance(phase, Running):
        ending = Ending(why=why, kill_at=now + seconds, since=phase.since)
        order = Terminate(attempt=group.attempt, ranks=group.living, why=why.name.lower(), seconds=seconds)
        group = replace(group, phase=ending)
        return (group, (order,)) if group.living else conclude(group, ending, now)
    if isinstance(phase, (Waiting, Paused)) and why < Why.PAUSE:
        return group, ()  # the next start is as wanted
    return conclude(group, Ending(why=why, kill_at=now, since=now), now)


def _member(group: Group, event: Report) -> Member:
    if not 0 <= event.rank < len(group.members):
        raise IllegalEvent(f"{event} is of a rank that does not exist; there are {len(group.members)}")
    return group.members[event.rank]


_TRANSITIONS: Mapping[type, Callable[[Group, Any, float], Step]] = {
    Up: _up,
    Started: _started,
    Exited: _over,
    Refused: _over,
    Gone: _over,
    Tick: _tick,
    Resize: _resize,
    Drain: _drain,
    Pause: _pause,
    Resume: _resume,
    Stop: _stop,
    Interrupted: _interrupted,
    Placed: _nothing,
    Line: _nothing,
    SaveNow: _nothing,
}
