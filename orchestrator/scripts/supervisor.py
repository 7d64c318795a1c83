"""Carries a script job through its life: hears its ranks, asks the group what to do, and does it.

Holds no policy of its own, and knows neither Ray nor processes; the manner is `orchestrator.supervisor`'s.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Protocol

from orchestrator.gang.events import Tick, Wish
from orchestrator.gang.states import Outcome
from orchestrator.scripts.adoption import adopt
from orchestrator.scripts.commands import Command, Dismiss, Hire, Kill, Launch, Terminate
from orchestrator.scripts.job import Policy, ScriptJob
from orchestrator.scripts.machine import Event, handle, start
from orchestrator.scripts.states import Ended, Group
from workers.script.protocol import Launch as LaunchOrder
from workers.script.protocol import Line, Recollection, ScriptNews

_STORY_LINES = 200

Happening = ScriptNews | Wish | Command


class Crew(Protocol):
    """Whoever runs the ranks, wherever that is. Nothing here waits."""

    def hire(
        self, attempt: int, ranks: int, places: Mapping[str, int] | None, avoid: Collection[str]
    ) -> None:
        """Find places for so many ranks, all or none. Those of one node get neighbouring numbers."""

    def launch(self, attempt: int, orders: Sequence[LaunchOrder]) -> None:
        """Start the program of every rank."""

    def terminate(self, attempt: int, ranks: Collection[int]) -> None:
        """SIGTERM."""

    def kill(self, attempt: int, ranks: Collection[int]) -> None:
        """SIGKILL, for all that they have started too."""

    def dismiss(self, attempt: int) -> None:
        """End what is left of an attempt and give its places back."""

    def hear(self, timeout: float) -> list[ScriptNews]:
        """What happened, in each rank's order; waits up to `timeout` seconds for something."""

    def held(self) -> dict[str, int]:
        """For how many ranks it has room on each node that was named, or waits for it."""

    def nodes(self) -> dict[str, str]:
        """The cluster's nodes: id → name."""

    def close(self, *, clean: bool) -> None:
        """End what is left. `clean`: remove the job's folders on the nodes too, where they are copies."""


class Observer(Protocol):
    """Whoever shows or records a job's life."""

    def happened(self, what: Happening) -> None:
        """Called for each thing that is heard and for each command that is carried out, in order."""


class GroupBug(Exception):
    """The group heard of what cannot be: a bug of ours. The message tells the job's story so far."""


@dataclass(kw_only=True)
class ScriptSupervisor:
    """Runs one script job to its end.

    Args:
        workers, places: how many ranks it should have, and where.
        observers: are told of everything.
        clock: seconds that never run backwards.
        tick: seconds between two looks at the clock.
        inbox: wishes of the job's owner; can be filled before there is a supervisor.
    """

    job: ScriptJob
    policy: Policy
    crew: Crew
    workers: int
    places: Mapping[str, int] | None
    observers: Sequence[Observer]
    clock: Callable[[], float] = time.monotonic
    tick: float = 0.1
    inbox: SimpleQueue[Wish] = field(default_factory=SimpleQueue)
    _story: deque[str] = field(default_factory=lambda: deque(maxlen=_STORY_LINES))

    def run(self, memories: Sequence[Recollection] | None = None) -> Outcome:
        """Until the job has ended, and all its ranks with it.

        Args:
            memories: of ranks that an earlier supervisor has left behind, for one in its place.
        """
        now = self.clock()
        if memories is None:
            group, commands = start(self.job, self.policy, self.workers, self.places, now)
        else:
            group, commands = adopt(self.job, self.policy, self.workers, self.places, memories, now)
        self._carry_out(commands)
        ticked = now
        while not isinstance(group.phase, Ended):
            for event in [*self.crew.hear(self.tick), *self._wishes()]:
                group = self._handle(group, event)
            if self.clock() - ticked >= self.tick:
                ticked = self.clock()
                group = self._handle(group, Tick())
        return group.phase.outcome

    def story(self) -> list[str]:
        """The latest transitions, a line each."""
        return list(self._story)

    def _wishes(self) -> list[Wish]:
        found = []
        while True:
            try:
                found.append(self.inbox.get_nowait())
            except Empty:
                return found

    def _handle(self, group: Group, event: Event) -> Group:
        if not isinstance(event, Tick):
            self._announce(event)
        if isinstance(event, Line):  # for people
            return group
        now = self.clock()
        try:
            after, commands = handle(group, event, now)
        except Exception as error:
            story = "\n".join(self._story)
            raise GroupBug(f"{error}\n{story}\n{now:.3f} {event}") from error
        if commands or after.phase != group.phase:
            moved = "" if after.phase == group.phase else f" → {after.phase}"
            done = "".join(f"; {_short(command)}" for command in commands)
            who = f" rank {rank}" if (rank := getattr(event, "rank", None)) is not None else ""
            self._story.append(f"{now:.3f} attempt {after.attempt}: {type(event).__name__}{who}{moved}{done}")
        self._carry_out(commands)
        return after

    def _carry_out(self, commands: Sequence[Command]) -> None:
        for command in commands:
            self._announce(command)
            match command:
                case Hire():
                    self.crew.hire(command.attempt, command.ranks, command.places, command.avoid)
                case Launch():
                    self.crew.launch(command.attempt, command.orders)
                case Terminate():
                    self.crew.terminate(command.attempt, command.ranks)
                case Kill():
                    self.crew.kill(command.attempt, command.ranks)
                case Dismiss():
                    self.crew.dismiss(command.attempt)

    def _announce(self, what: Happening) -> None:
        for observer in self.observers:
            observer.happened(what)


def _short(command: Command) -> str:
    """Without environments: they are long, and nobody else's business."""
    return f"Launch(attempt={command.attempt})" if isinstance(command, Launch) else str(command)
