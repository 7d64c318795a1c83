"""Carries a job through its life: hears its workers, asks the gang what to do, and does it.

Holds no policy of its own. What people and Prometheus see is folded from the same events, on the way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from orchestrator import gang
from orchestrator.gang.commands import Announce, Command, Commit, Form
from orchestrator.gang.events import CommitFailed, Committed, GangEvent, Interrupted, Lost
from orchestrator.interruption import Interruption
from workers.errors import LockstepError
from workers.protocol import CheckpointCommitted, Event, Failed, Finished, Order, Ready, Saved

#: Reports that the gang decides on; the others are for people.
_FOR_THE_GANG = (Ready, Saved, Finished, Failed)


class Crew(Protocol):
    """The job's worker processes, wherever they run."""

    workers: tuple[str, ...]

    def tell(self, worker: str, order: Order) -> None:
        """Send an order to a worker. One that is gone is heard of through `hear`."""

    def hear(self, timeout: float) -> list[Event | Lost]:
        """What happened, in each worker's order; waits up to `timeout` seconds for something."""


class Observer(Protocol):
    """Whoever shows or records a job's life."""

    def happened(self, event: Event | GangEvent | Form) -> None:
        """Called for each event, and for each membership that is sent out, in order."""


@dataclass(kw_only=True)
class Supervisor:
    """Runs one job to its end.

    Args:
        crew: the worker processes.
        virtual_ranks: V.
        resume_step: the checkpoint to go on from, if any.
        commit: writes a checkpoint's manifest.
        observers: are told of everything.
        idle: called after each look at the workers, several times a second.
        interruption: whether the user asked to stop.
    """

    crew: Crew
    virtual_ranks: int
    resume_step: int | None
    commit: Callable[[Commit], object]
    observers: Sequence[Observer]
    idle: Callable[[], None]
    interruption: Interruption

    def run(self, tick: float = 0.2) -> gang.Outcome:
        """Until the job has ended; looks for an interruption every `tick` seconds."""
        state: gang.State = gang.start(self.crew.workers, self.virtual_ranks, self.resume_step)
        while not isinstance(state, gang.Ended):
            heard: list[Event | GangEvent] = [*self.crew.hear(timeout=tick)]
            if self.interruption.requested:
                heard.append(Interrupted())
            for event in heard:
                state = self._handle(state, event)
            self.idle()
        return state.outcome

    def _handle(self, state: gang.State, event: Event | GangEvent) -> gang.State:
        """One event, and all that follows from it at once."""
        self._announce(event)
        if isinstance(event, Event) and not isinstance(event, _FOR_THE_GANG):
            return state
        state, commands = gang.handle(state, event)
        for command in commands:
            for consequence in self._carry_out(command):
                state = self._handle(state, consequence)
        return state

    def _carry_out(self, command: Command) -> list[GangEvent]:
        if isinstance(command, Form):
            self._announce(command)
            for worker in command.membership.workers:
                self.crew.tell(worker, command.membership)
            return []
        if isinstance(command, Announce):
            for worker in command.workers:
                self.crew.tell(worker, CheckpointCommitted(step=command.step))
            return []
        try:
            self.commit(command)
        except LockstepError as error:
            return [CommitFailed(step=command.step, message=str(error), exit_code=error.exit_code)]
        return [Committed(step=command.step)]

    def _announce(self, event: Event | GangEvent | Form) -> None:
        for observer in self.observers:
            observer.happened(event)
