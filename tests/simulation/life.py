"""Lives one job from its seed: the real supervisor and the real gang in a simulated world."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import dataclass

from orchestrator.gang import Gang
from orchestrator.gang.events import GangEvent, Resume, Stop, Tick
from orchestrator.gang.states import Paused
from orchestrator.supervisor import Supervisor
from tests.simulation.crew import SupervisorDied
from tests.simulation.plan import Plan, plan
from tests.simulation.world import World
from workers.protocol import Beat, Fault, Memory, News

#: A job that stands still for so long at the end of its troubles is told to go on.
_PAUSED_SECONDS = 12.0
#: What a job is given to end that a new supervisor is told to stop.
_STOP_SECONDS = 5.0


def silent(line: str) -> None:
    """Tells nobody."""


class Overdue(Exception):
    """A job that did not end in its time."""


@dataclass(frozen=True, kw_only=True)
class Life:
    """How one seed went.

    Attributes:
        failure: what was wrong, with the supervisor's story; None if nothing was.
        ending: done, or the class of failure, in a word.
        happened: troubles, and the phase of their victim.
        seconds: of virtual time.
    """

    seed: int
    failure: str | None
    ending: str
    happened: tuple[tuple[str, str], ...]
    generations: int
    seconds: float


class WatchedSupervisor(Supervisor):
    """The real one; after each event a look is taken at the state that only it knows."""

    look: Callable[[Gang], None]
    log: Callable[[str], None]
    tells: bool

    def _handle(self, state: Gang, event: News | GangEvent) -> Gang:
        after = super()._handle(state, event)
        if after is not state:
            self.look(after)
            if self.tells and (not isinstance(event, (Beat, Tick)) or after.phase != state.phase):
                self.log(f"{type(after.phase).__name__}, step {after.step}: {event}")
        return after


def live(seed: int, log: Callable[[str], None] = silent) -> Life:
    """The life of this seed. `log` hears of every transition and trouble."""
    return live_plan(plan(seed), log)


def live_plan(plan: Plan, log: Callable[[str], None] = silent) -> Life:
    """The life that is planned."""
    life = _Run(plan, log)
    failure, ending = None, "failed"
    try:
        ending = life.run()
    except Exception as error:
        wrong = life.world.oracles.violated or error
        trace = "" if life.world.oracles.violated else traceback.format_exc(limit=-6)
        story = "\n".join([*life.earlier, *life.supervisor.story()])
        failure = f"{type(wrong).__name__}: {str(wrong)[:500]}\n{plan}\n{story}\n{trace}"
    world = life.world
    return Life(
        seed=plan.seed,
        failure=failure,
        ending=ending,
        happened=tuple(world.happened),
        generations=world.oracles.generations,
        seconds=world.clock.now,
    )


class _Run:
    def __init__(self, plan: Plan, log: Callable[[str], None]) -> None:
        self.world = World(plan, lambda line: log(f"{self.world.clock.read():.3f} {line}"))
        self._plan, self._tells = plan, log is not silent
        self._state: Gang
        self._paused_at: float | None = None
        self._deadline = bound(plan)
        self.supervisor = self._supervisor(plan.resume_step)
        self.earlier: list[str] = []

    def run(self) -> str:
        """Returns how the job ended, in a word."""
        outcome, memories = None, None
        while outcome is None:
            try:
                outcome = self.supervisor.run(memories)
            except SupervisorDied:
                memories = self._replace_supervisor()
        if self.world.oracles.violated:
            raise self.world.oracles.violated
        self.world.oracles.ended(self._state, outcome)
        if outcome.stopped:
            return "stopped"
        return "done" if outcome.done else str(outcome.fault or "interrupted")

    def _supervisor(self, resume_step: int | None) -> WatchedSupervisor:
        supervisor = WatchedSupervisor(
            crew=self.world.crew,
            policy=self._plan.policy,
            workers=self._plan.workers,
            resume_step=resume_step,
            checkpointing=self.world.store,
            observers=[self.world.oracles],
            aside=self.world.aside,
            idle=self._idle,
            clock=self.world.clock.read,
            tick=self._plan.tick,
        )
        supervisor.look, supervisor.log, supervisor.tells = self._look, self.world.log, self._tells
        self.world.wish = supervisor.wish
        return supervisor

    def _replace_supervisor(self) -> list[Memory]:
        """After a while there is a new one; it knows what the store and the workers know."""
        clock, crew = self.world.clock, self.world.crew
        self.world.wish = lambda event: None
        until = clock.now + crew.doomed
        while clock.step(until):
            pass
        self.earlier += [*self.supervisor.story(), "the supervisor died"]
        memories = crew.adopt()
        self.world.oracles.adopted(memories)
        self.world.log(f"a new supervisor finds {[memory.worker for memory in memories]}")
        self.supervisor = self._supervisor(self.world.store.newest)
        if self.world.places is not None:  # whoever decides on nodes tells each new supervisor
            self.world.place(self.world.places)
        if self.world.stop_by is not None:
            self.world.stop_by = clock.read() + _STOP_SECONDS
            self.world.wish(Stop(seconds=_STOP_SECONDS))
        return memories

    def _look(self, state: Gang) -> None:
        self._state = state

    def _idle(self) -> None:
        now = self.world.clock.now
        if now > self._deadline:
            raise Overdue(f"after {now:.0f} s: {self._state}")
        if type(self._state.phase) is not Paused:
            self._paused_at = None
        elif self._paused_at is None:
            self._paused_at = now
        elif now > self._paused_at + _PAUSED_SECONDS:
            self._paused_at = None
            self.supervisor.wish(Resume())


def bound(plan: Plan) -> float:
    """Seconds in which a job must have ended."""
    policy = plan.policy
    once = policy.gather + policy.starting + policy.alone + 4 * policy.retry_max + plan.patience + 20.0
    tries = (policy.budgets[Fault.LINK] or 0) + 1  # of workers that cannot reach one another
    return once * (2 + len(plan.troubles)) + tries * (plan.patience + policy.grace + 2 * plan.tick)
