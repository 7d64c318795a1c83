"""Everything around the supervisor of one simulated job, and what only a simulator knows."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from random import Random
from typing import TYPE_CHECKING

from orchestrator.gang.events import GangEvent, Resize
from orchestrator.supervisor import Work
from tests.simulation import faults
from tests.simulation.chain import history
from tests.simulation.clock import Clock
from tests.simulation.crew import SimCrew
from tests.simulation.meeting import Meeting
from tests.simulation.oracles import Oracles
from tests.simulation.plan import Plan, Trouble
from tests.simulation.store import SimStore
from workers.protocol import Fault, Membership

if TYPE_CHECKING:
    from tests.simulation.worker import SimWorker


class World:
    """One job's clock, machines, network and store.

    Attributes:
        armed: troubles that wait for a phase: phase → [visits to go, trouble].
        curses: steps that fail: step → (virtual rank, how).
        damage: steps that need a block which cannot be read: step → virtual rank.
        happened: troubles that came about, and the phase of their victim.
        draining: nodes that go, or are gone.
        quiet: somebody may be silent without being gone, from now on.
        wish: hands an event to the supervisor.
        places: where workers should be, once somebody says so.
        stop_by: when a job that was told to stop has ended in any case.
    """

    def __init__(self, plan: Plan, log: Callable[[str], None]) -> None:
        self.plan, self.log = plan, log
        self.rng = Random(plan.seed ^ 0x51A)
        self.clock = Clock()
        self.history = history(plan.steps)
        self.oracles = Oracles(self)
        self.store = SimStore(self, plan.resume_step)
        self.crew = SimCrew(self)
        self.armed: dict[str, list[tuple[list[int], Trouble]]] = {}
        self.curses: dict[int, tuple[int, Fault]] = {}
        self.damage: dict[int, int] = {}
        self.happened: list[tuple[str, str]] = []
        self.draining: list[str] = []
        self.quiet = False
        self.places: dict[str, int] | None = None
        self.stop_by: float | None = None
        self.spares = 0
        self.wish: Callable[[GangEvent], None] = lambda event: None
        self._meetings: dict[tuple[int, str], Meeting] = {}
        self._aside_until = 0.0
        for trouble in plan.troubles:
            self._expect(trouble)

    def latency(self) -> float:
        """Of a message between a worker and the supervisor."""
        return 0.0002 + self.plan.lag * self.rng.random() ** 2

    def meeting(self, membership: Membership) -> Meeting:
        """Where the members of a generation meet."""
        place = (membership.generation, membership.store)
        found = self._meetings.get(place)
        if found is None:
            found = self._meetings[place] = Meeting(self, membership)
        return found

    def hush(self) -> None:
        """Somebody may be silent without being gone: whoever waits gives up after a while."""
        self.quiet = True
        for meeting in self._meetings.values():
            meeting.hush()

    def place(self, places: dict[str, int]) -> None:
        """Somebody outside says where workers should be; not on nodes that are gone, nor on those that go."""
        gone = {*self.crew.dead_nodes, *self.draining}
        usable = {node: count for node, count in places.items() if node not in gone}
        lost = sum(places.values()) - sum(usable.values())
        if lost:
            self.spares += 1
            usable[f"new-{self.spares}"] = lost
        self.places = usable
        self.wish(Resize(workers=sum(usable.values()), places=usable))

    def aside(self, work: Work, then: Callable[[GangEvent], None]) -> None:
        """Run what takes long, one after the other."""
        begin = max(self.clock.now, self._aside_until)
        self._aside_until = begin + 0.005 + 0.1 * self.rng.random() ** 2
        self.clock.after(self._aside_until - self.clock.now, lambda: then(work()))

    # --- trouble ---

    def visit(self, phase: str, worker: SimWorker) -> None:
        """A worker has come to a phase that somebody waits for."""
        left = []
        for entry in self.armed.pop(phase):
            to_go, trouble = entry
            to_go[0] -= 1
            if to_go[0] > 0:
                left.append(entry)
            else:
                self.clock.after(trouble.at, partial(faults.happen, self, trouble, worker))
        if left:
            self.armed[phase] = left

    def crash(self, worker: SimWorker) -> None:
        """A process dies; that is known soon."""
        if worker.alive:
            worker.muted = self.rng.random() < 0.3
            worker.die()
            self.crew.lose(worker, Fault.CRASH, 0.017 + 0.038 * self.rng.random())

    def lose_node(self, node: str, *, silently: bool) -> None:
        """A machine is gone with all that runs on it; that is known late, if it was silent."""
        if node in self.crew.dead_nodes:
            return
        self.crew.dead_nodes.append(node)
        if self.places is not None:
            self.clock.after(1.0, partial(self._place_again, node))
        for worker in list(self.crew.workers.values()):
            if worker.node == node and worker.alive:
                worker.muted = self.rng.random() < 0.5
                worker.die(silently=silently)
                delay = 0.5 + 4.0 * self.rng.random() if silently else 0.1 * self.rng.random()
                self.crew.lose(worker, Fault.NODE, delay)

    def _place_again(self, node: str) -> None:
        if self.places is not None and node in self.places:
            self.place(self.places)

    def _expect(self, trouble: Trouble) -> None:
        if trouble.kind in ("poison", "user error", "damaged block"):
            self.clock.after(0.0, partial(faults.happen, self, trouble))
        elif trouble.phase is None:
            self.clock.after(trouble.at, partial(faults.happen, self, trouble))
        else:
            self.armed.setdefault(trouble.phase, []).append(([trouble.count], trouble))
