"""What must be true of every life, checked while it is lived and at its end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from orchestrator.exit_codes import INTERRUPTED
from orchestrator.gang import Gang, Outcome, Policy
from orchestrator.gang.commands import Dismiss, Form
from orchestrator.supervisor import Happening
from tests.simulation.meeting import Key
from workers.protocol import Failed, Fault, Lost, Membership, Memory, StepDone, Vanished

if TYPE_CHECKING:
    from tests.simulation.worker import SimWorker
    from tests.simulation.world import World


#: Workers of a job that was never trained that may fail to start; one out of reach dies unseen.
_START_FAILURES = Policy(virtual_ranks=1).start_failures


class Violation(Exception):
    """A life in which something happened that never must."""


class Oracles:
    """Sees what the supervisor sees, and what it cannot see."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.violated: Violation | None = None
        self.generations = 0
        self._generation = -1
        self._formed: tuple[int, int] = (-1, 0)  # the newest generation that agreed on a state, and its step
        self._issued: set[tuple[int, str]] = set()  # generations of this supervisor, and where they meet
        self._known = 0  # the highest step that the supervisor has heard of
        self._furthest = 0  # the highest step that anybody applied
        self._starts = 0  # that were not got through
        self._deaths: list[tuple[int, int]] = []  # in which generation, and step
        self._latest = 0  # the step that was heard of last
        self._vanished: set[str] = set()
        self._heard: dict[int, list[int]] = {}  # that when a death was heard of → generations

    def violation(self, text: str) -> Violation:
        """To be raised; it is remembered, whoever catches it."""
        self.violated = self.violated or Violation(text)
        return self.violated

    # --- what the supervisor sees ---

    def happened(self, what: Happening) -> None:
        """See `orchestrator.supervisor.Observer`."""
        if isinstance(what, StepDone):
            self._step_done(what)
        elif isinstance(what, Form):
            self._form(what.membership)
        elif isinstance(what, Dismiss):
            self._dismiss(what.worker)
        elif isinstance(what, Vanished):
            self._vanished.add(what.worker)
            self._heard.setdefault(self._latest, []).append(self._generation)
        elif isinstance(what, (Lost, Failed)) and what.worker not in self._vanished:
            self._heard.setdefault(self._latest, []).append(self._generation)

    def _step_done(self, event: StepDone) -> None:
        self._known = max(self._known, event.step)
        self._latest = event.step
        worker = self._world.crew.workers.get(event.worker)
        generation, step = self._formed
        if worker is None or worker.given_up:
            return
        if event.generation < generation and event.step > step:
            raise self.violation(f"{event.worker} went on to step {event.step} in an older generation")

    def _form(self, membership: Membership) -> None:
        if membership.generation <= self._generation:
            raise self.violation(f"generation {membership.generation} after {self._generation}")
        self._generation = membership.generation
        self._issued.add((membership.generation, membership.store))
        self.generations += 1

    def _dismiss(self, name: str) -> None:
        """Nobody is let go who alone holds what was done, unless the others were seen to have it."""
        workers = self._world.crew.workers
        if name not in workers or self._formed[0] >= self._generation:
            return
        able = [each.name for each in workers.values() if self._is_able(each) and self._has_all(each)]
        if able == [name]:
            raise self.violation(f"step {self._known} is lost with {name}, which was let go")

    def _has_all(self, worker: SimWorker) -> bool:
        return self._known > 0 and (worker.step or 0) >= self._known

    def _is_able(self, worker: SimWorker) -> bool:
        return _is_well(worker) and worker.node not in self._world.draining

    def adopted(self, memories: Sequence[Memory]) -> None:
        """A new supervisor knows what those know who are alive."""
        known = [memory.membership for memory in memories if memory.membership is not None]
        self._generation = max((membership.generation for membership in known), default=-1)
        self._issued = {(membership.generation, membership.store) for membership in known}
        self._formed = min(self._formed, (self._generation, self._formed[1]))

    # --- what it does not see ---

    def exchanged(self, membership: Membership, key: Key, values: dict[str, Any]) -> None:
        """All have come to an exchange."""
        if key[0] == "step":
            rows = [values[name] for name in membership.workers]
            hosted = sorted(vrank for _, _, vranks, _ in rows for vrank in vranks)
            if hosted != list(range(self._world.plan.virtual_ranks)):
                raise self.violation(f"step {key[1]} is computed from virtual ranks {hosted}")
            if {row[:2] for row in rows} != {(key[1] - 1, self._world.history[key[1] - 1])}:
                raise self.violation(f"step {key[1]} is computed from different states: {values}")
        elif key[0] == "agree":
            step = max(step for step, _ in values.values())
            issued = (membership.generation, membership.store) in self._issued
            if issued and membership.generation > self._formed[0]:
                self._formed = (membership.generation, step)
                self._check_nothing_is_lost(step)

    def _check_nothing_is_lost(self, step: int) -> None:
        there = [each.name for each in self._world.crew.workers.values() if self._is_able(each)]
        holders = [name for name in there if self._has_all(self._world.crew.workers[name])]
        if step < self._known and holders:
            raise self.violation(f"step {self._known} is lost: all go on from {step}, and {holders} hold it")

    def applied(self, worker: SimWorker, generation: int) -> None:
        """A worker has applied a step."""
        step = worker.step or 0
        self._furthest = max(self._furthest, step)
        if worker.state != self._world.history[step]:
            raise self.violation(f"{worker.name} holds a wrong state after step {step}")
        if worker.dismissed or worker.given_up:
            return
        if generation < self._formed[0] and step > self._formed[1]:
            raise self.violation(f"{worker.name} applied {step} in generation {generation}")

    def died(self, worker: SimWorker) -> None:
        """A process is gone."""
        self._starts += worker.phase == "starting"
        if worker.begun is not None and worker.membership is not None:
            self._deaths.append((worker.membership.generation, worker.begun))

    # --- the end ---

    def ended(self, state: Gang, outcome: Outcome) -> None:
        """The job ended as it may, with all that it has to leave behind."""
        plan, store = self._world.plan, self._world.store
        if outcome.done:
            if self._furthest < plan.steps and plan.resume_step != plan.steps:
                raise self.violation(f"done after {self._furthest} of {plan.steps} steps")
            if plan.save_every is not None and store.newest != plan.steps:
                raise self.violation(f"done, and the newest checkpoint is that of {store.newest}")
        elif outcome.stopped:
            self._stopped(state, outcome)
        elif outcome.exit_code == INTERRUPTED:
            if "interrupt" not in self._kinds:
                raise self.violation("interrupted, and nobody asked for it")
        elif outcome.fault is None or not self._may_end_of(outcome.fault):
            raise self.violation(f"ended for no good reason: {outcome}")

    def _stopped(self, state: Gang, outcome: Outcome) -> None:
        """What was done is saved, if there was time for it."""
        plan, store = self._world.plan, self._world.store
        if "stop" not in self._kinds:
            raise self.violation("stopped, and nobody asked for it")
        if plan.save_every is None:
            return
        if (outcome.step or 0) > (store.newest or 0):
            raise self.violation(f"stopped at {outcome.step}, and the newest checkpoint is {store.newest}")
        in_time = self._world.clock.read() < (self._world.stop_by or 0.0)
        if in_time and state.holders and (outcome.step or 0) < state.step:
            raise self.violation(f"stopped in time after {outcome.step}, and step {state.step} was done")

    @property
    def _kinds(self) -> list[str]:
        return [kind for kind, _ in self._world.happened]

    def _may_end_of(self, fault: Fault) -> bool:
        kinds = self._kinds
        match fault:
            case Fault.USER:
                return "user error" in kinds
            case Fault.INPUT:
                return kinds.count("damaged block") > self._world.plan.policy.damaged_blocks
            case Fault.POISON:
                return "poison" in kinds or self._died_alike()
            case Fault.LINK:
                return any("partition" in kind for kind in kinds)
            case Fault.INTERNAL:
                return kinds.count("internal") > 2 or self._starts >= _START_FAILURES
            case Fault.HANG:  # one that stands still before it is ready is a start that failed
                stood = sum("freeze" in kind or kind == "out of reach" for kind in kinds)
                return not self._furthest and self._starts + stood >= _START_FAILURES
            case Fault.CRASH:
                # A process that dies before it can say that it had begun the step is not suspected.
                return self._starts >= _START_FAILURES or "poison" in kinds
            case Fault.MEMORY:
                return kinds.count("memory") > 3
            case _:
                return False

    def _died_alike(self) -> bool:
        """Whether enough workers died in one step, one after another: really, or as far as the supervisor can
        tell, which hears late of steps, or never."""
        policy = self._world.plan.policy
        by_themselves = {"internal", "memory"} & set(self._kinds)
        enough = policy.poison_nodes if by_themselves else policy.poison_workers
        heard = [len(set(deaths)) for deaths in self._heard.values()]
        died = [
            len({generation for generation, other in self._deaths if abs(step - other) <= 1})
            for _, step in self._deaths
        ]
        return max([*heard, *died], default=0) >= enough


def _is_well(worker: SimWorker) -> bool:
    out_of_order = worker.frozen or worker.hung or worker.broke_down or worker.given_up
    return worker.alive and not (out_of_order or worker.cut or worker.unreachable)
