"""Carries a job through its life: hears its workers, asks the gang what to do, and does it.

Holds no policy of its own, and knows neither Ray nor processes. What people and Prometheus see is folded from
the same events, on the way. It can be run on a clock of its own, with a crew that is made up (see
`tests/simulation`).
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Protocol

from orchestrator import gang
from orchestrator.gang.commands import Announce, AskToSave, Command, Commit, Dismiss, Form, Hire, Hold, Recall
from orchestrator.gang.events import CommitFailed, Committed, GangEvent, Recalled, RecallFailed, Tick
from workers.errors import AccessError, LockstepError, UnreachableError
from workers.protocol import (
    Beat,
    CheckpointCommitted,
    Fault,
    LeftOut,
    Memory,
    News,
    Order,
    SaveWanted,
    Stacks,
    StandsBy,
)

#: Transitions that are remembered, for the story of a job.
_STORY_LINES = 200

Happening = News | GangEvent | Command
Work = Callable[[], GangEvent]


class Crew(Protocol):
    """The job's worker processes, wherever they run."""

    def hire(self, workers: Sequence[str], avoid: Collection[str], nodes: Sequence[str] = ()) -> None:
        """Start a process for each of these names, on none of the nodes to avoid; where `nodes` are given, on
        one of them each. Does not wait for them."""

    def tell(self, worker: str, order: Order) -> None:
        """Send an order to a worker. One that is gone is heard of through `hear`."""

    def hear(self, timeout: float) -> list[News]:
        """What happened, in each worker's order; waits up to `timeout` seconds for something."""

    def dismiss(self, worker: str, *, stacks: bool) -> None:
        """End a worker's process; with its Python stacks first, which are then heard."""


class Checkpointing(Protocol):
    """What a supervisor does with a job's checkpoints. Both may take long, and are called aside."""

    def commit(self, command: Commit) -> None:
        """Write a manifest."""

    def recall(self) -> int | None:
        """The step of the newest checkpoint that verifies; None if there never was one."""


class Observer(Protocol):
    """Whoever shows or records a job's life."""

    def happened(self, what: Happening) -> None:
        """Called for each thing that is heard and for each command that is carried out, in order."""


class GangBug(Exception):
    """The gang heard of what cannot be: a bug of ours. The message tells the job's story so far."""


@dataclass(kw_only=True)
class Supervisor:
    """Runs one job to its end.

    Args:
        crew: the worker processes.
        policy: how patient to be with them.
        workers: how many the job should have, and
        places: how many of them on each node; None where the cluster chooses.
        resume_step: the checkpoint to go on from, if any.
        left_out: damaged blocks that this checkpoint was trained without.
        checkpointing: writes and finds checkpoints.
        observers: are told of everything.
        aside: runs what takes long, not necessarily in the calling thread, and hands its event to `wish`.
        idle: called after each look at the workers, several times a second.
        clock: seconds that never run backwards.
        tick: seconds between two looks at the clock.
        inbox: what `wish` fills; can be filled before there is a supervisor.
    """

    crew: Crew
    policy: gang.Policy
    workers: int
    resume_step: int | None
    checkpointing: Checkpointing
    observers: Sequence[Observer]
    aside: Callable[[Work, Callable[[GangEvent], None]], None]
    idle: Callable[[], None] = lambda: None
    clock: Callable[[], float] = time.monotonic
    tick: float = 0.1
    left_out: tuple[LeftOut, ...] = ()
    places: Mapping[str, int] | None = None
    inbox: SimpleQueue[GangEvent] = field(default_factory=SimpleQueue)
    _story: deque[str] = field(default_factory=lambda: deque(maxlen=_STORY_LINES))

    def wish(self, event: GangEvent) -> None:
        """Something that the job's owner wants, or that was done aside. From any thread."""
        self.inbox.put(event)

    def run(self, memories: Sequence[Memory] | None = None) -> gang.Outcome:
        """Until the job has ended, and all its workers with it.

        Args:
            memories: of workers that an earlier supervisor has left behind, for one in its place.
        """
        if memories is None:
            state, commands = gang.start(
                self.policy, self.workers, self.resume_step, self.clock(), self.left_out, self.places
            )
        else:
            state, commands = gang.adopt(
                self.policy, self.workers, memories, self.resume_step, self.clock(), self.places
            )
        self._carry_out(commands)
        ticked = self.clock()
        while not isinstance(state.phase, gang.Ended):
            for event in [*self.crew.hear(self.tick), *self._wishes()]:
                state = self._handle(state, event)
            if self.clock() - ticked >= self.tick:
                ticked = self.clock()
                state = self._handle(state, Tick())
            self.idle()
        for worker in state.crew:
            self.crew.dismiss(worker, stacks=False)
        return state.phase.outcome

    def story(self) -> list[str]:
        """The latest transitions, a line each."""
        return list(self._story)

    def _wishes(self) -> list[GangEvent]:
        found = []
        while True:
            try:
                found.append(self.inbox.get_nowait())
            except Empty:
                return found

    def _handle(self, state: gang.Gang, event: News | GangEvent) -> gang.Gang:
        """One event, and all that follows from it."""
        if not isinstance(event, (Beat, Tick)):
            self._announce(event)
        if isinstance(event, (Stacks, StandsBy)):  # for people
            return state
        now = self.clock()
        try:
            after, commands = gang.handle(state, event, now)
        except Exception as error:
            story = "\n".join(self._story)
            raise GangBug(f"{error}\n{story}\n{now:.3f} {event}") from error
        if commands or after.phase != state.phase:
            self._tell(now, event, state, after, commands)
        self._carry_out(commands)
        return after

    def _tell(
        self,
        now: float,
        event: News | GangEvent,
        before: gang.Gang,
        after: gang.Gang,
        commands: Sequence[Command],
    ) -> None:
        who = getattr(event, "worker", "")
        moved = "" if after.phase == before.phase else f" → {after.phase}"
        done = "".join(f"; {command}" for command in commands if not isinstance(command, Commit))
        self._story.append(f"{now:.3f} step {after.step}: {type(event).__name__} {who}{moved}{done}")

    def _carry_out(self, commands: Sequence[Command]) -> None:
        for command in commands:
            self._announce(command)
            match command:
                case Hire():
                    self.crew.hire(command.workers, command.avoid, command.nodes)
                case Form():
                    for worker in (*command.membership.workers, *command.keepers):
                        self.crew.tell(worker, command.membership)
                case Hold():
                    for worker in command.workers:
                        self.crew.tell(worker, command.order)
                case Announce():
                    for worker in command.workers:
                        self.crew.tell(worker, CheckpointCommitted(step=command.step))
                case AskToSave():
                    for worker in command.workers:
                        self.crew.tell(worker, SaveWanted(step=command.step))
                case Dismiss():
                    self.crew.dismiss(command.worker, stacks=command.stacks)
                case Commit():
                    self.aside(lambda command=command: self._commit(command), self.wish)  # type: ignore[misc]
                case Recall():
                    self.aside(self._recall, self.wish)

    def _commit(self, command: Commit) -> GangEvent:
        try:
            self.checkpointing.commit(command)
        except LockstepError as error:
            passing = isinstance(error, (AccessError, UnreachableError))
            return CommitFailed(
                step=command.step, message=str(error), exit_code=error.exit_code, passing=passing
            )
        except Exception as error:  # it must be heard of: workers wait for this commit
            message = f"{type(error).__name__}: {error}"
            return CommitFailed(
                step=command.step, message=message, exit_code=1, fault=Fault.INTERNAL, passing=False
            )
        return Committed(step=command.step)

    def _recall(self) -> GangEvent:
        try:
            return Recalled(step=self.checkpointing.recall())
        except LockstepError as error:
            return RecallFailed(message=str(error), exit_code=error.exit_code, fault=Fault.INPUT)
        except Exception as error:
            message = f"{type(error).__name__}: {error}"
            return RecallFailed(message=message, exit_code=1, fault=Fault.INTERNAL)

    def _announce(self, what: Happening) -> None:
        for observer in self.observers:
            observer.happened(what)
