"""A job's life as its gang sees it, told by a test: what workers report, and how time passes."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, TypeVar

from orchestrator.gang import Ended, Gang, Outcome, Policy, handle, start
from orchestrator.gang.commands import Command, Form
from orchestrator.gang.events import GangEvent, Tick
from orchestrator.gang.states import Stage
from tests.support.events import FakeWorker
from workers.protocol import Activity, Membership

C = TypeVar("C")
V = 8
_TICK = 0.25


def w(number: int) -> str:
    """The name of the worker that was hired as number so many."""
    return f"worker-{number}"


class Life:
    """A gang, the time, and workers, number n on node `n<n>`.

    Args:
        workers: how many the job should have.
        resume_step: the checkpoint that it goes on from.
        one_node: all run on node `n0`.
        places: how many should be on each node.
        policy: fields of `Policy` that differ from the defaults. Who is missing is hired at once.
    """

    def __init__(
        self,
        workers: int = 3,
        resume_step: int | None = None,
        *,
        one_node: bool = False,
        places: Mapping[str, int] | None = None,
        **policy: Any,
    ) -> None:
        self.now = 1000.0
        self._one_node = one_node
        self.gang: Gang
        self.gang, commands = start(
            Policy(**{"virtual_ranks": V, "hire_delay": 0.0, **policy}),
            workers,
            resume_step,
            self.now,
            places=places,
        )
        self.told: list[Command] = list(commands)
        self._workers: dict[str, FakeWorker] = {}

    def __getitem__(self, number: int) -> FakeWorker:
        node = "n0" if self._one_node else f"n{number}"
        return self._workers.setdefault(w(number), FakeWorker(w(number), node=node))

    @property
    def outcome(self) -> Outcome:
        """How the job ended."""
        assert isinstance(self.gang.phase, Ended), self.gang.phase
        return self.gang.phase.outcome

    @property
    def membership(self) -> Membership:
        """The generation that was formed last."""
        assert self.gang.membership is not None
        return self.gang.membership

    def hear(self, *events: GangEvent) -> list[Command]:
        """These events come one after the other, at once; returns what is to be done about them."""
        found: list[Command] = []
        for event in events:
            self.gang, commands = handle(self.gang, event, self.now)
            found += commands
        self.told += found
        return found

    def wait(
        self,
        seconds: float,
        *,
        silent: Collection[int] = (),
        activity: Activity = Activity.REDUCE_WAIT,
        since: float | None = None,
    ) -> list[Command]:
        """Time passes; all but the `silent` say what they are doing, since `since` or since just now."""
        found: list[Command] = []
        end = self.now + seconds
        while self.now < end and not isinstance(self.gang.phase, Ended):
            self.now = min(end, self.now + _TICK)
            for id in [id for id in self.gang.crew if id not in {w(number) for number in silent}]:
                if self.gang.crew[id].stage is not Stage.STARTING:
                    spent = 0.0 if since is None else self.now - since
                    found += self.hear(self[int(id.split("-")[1])].beat(activity, spent))
            found += self.hear(Tick())
        return found

    def ready(self, *numbers: int) -> list[Command]:
        """These workers have built the recipe."""
        return self.hear(*(self[number].ready() for number in numbers))

    def formed(self, step: int = 0) -> list[Command]:
        """All members have met, and hold the state of `step`."""
        generation = self.gang.generation
        return self.hear(*(self[n].formed(generation, step) for n in self.numbers()))

    def step(self, step: int, *numbers: int, **fields: Any) -> list[Command]:
        """These members, or all, have applied a step."""
        generation = self.gang.generation
        return self.hear(
            *(self[n].step_done(step, generation=generation, **fields) for n in numbers or self.numbers())
        )

    def saved(self, step: int, *numbers: int) -> list[Command]:
        """These members, or all, have written one chunk each; rank 0 adds the draft."""
        events = []
        for rank, number in enumerate(self.numbers()):
            if number in (numbers or self.numbers()):
                chunks, draft = {rank: f"chunk {rank}"}, {"step": step} if rank == 0 else None
                generation = self.gang.generation
                events.append(self[number].saved(step, generation=generation, chunks=chunks, draft=draft))
        return self.hear(*events)

    def parked(self, step: int, *numbers: int) -> list[Command]:
        """These members, or all, stopped after a step."""
        generation = self.gang.generation
        return self.hear(*(self[n].parked(step, generation) for n in numbers or self.numbers()))

    def broken(self, step: int | None, *numbers: int) -> list[Command]:
        """These members lost a peer in the step after `step`."""
        generation = self.gang.generation
        return self.hear(*(self[n].broken(step, generation) for n in numbers))

    def finished(self, step: int, *numbers: int) -> list[Command]:
        """These members, or all, are through; rank 0 knows the digest."""
        generation, rank_0 = self.gang.generation, self.membership.workers[0]
        return self.hear(
            *(
                self[n].finished(step, "ab" * 32 if w(n) == rank_0 else None, generation)
                for n in numbers or self.numbers()
            )
        )

    def numbers(self) -> list[int]:
        """The members that are alive, by rank."""
        return [int(member.id.split("-")[1]) for member in self.gang.members]

    def stages(self) -> dict[int, Stage]:
        """Where every worker is."""
        return {int(id.split("-")[1]): member.stage for id, member in self.gang.crew.items()}


def training(workers: int = 3, step: int = 0, resume_step: int | None = None, **policy: Any) -> Life:
    """A job whose first generation is at work, and has committed `step`."""
    life = Life(workers, resume_step, **policy)
    life.ready(*range(workers))
    life.formed(resume_step or 0)
    if step > (resume_step or 0):
        life.step(step)
    life.told.clear()
    return life


def only(commands: list[Command], kind: type[C]) -> C:
    """The one command of this kind."""
    (found,) = [command for command in commands if isinstance(command, kind)]
    return found


def none(commands: list[Command], kind: type[Command]) -> bool:
    """Whether there is no command of this kind."""
    return not any(isinstance(command, kind) for command in commands)


def formed_by(commands: list[Command]) -> tuple[str, ...]:
    """Who belongs to the one generation that is formed."""
    return only(commands, Form).membership.workers
