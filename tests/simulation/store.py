"""The store of a job's checkpoints, with its outages; and what a supervisor does with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.gang.commands import Commit
from tests.simulation.chain import CHUNKS
from workers.errors import UnreachableError

if TYPE_CHECKING:
    from tests.simulation.worker import SimWorker
    from tests.simulation.world import World


class Refused(Exception):
    """What a worker hears of a store that does not answer."""

    exit_code = 3


class SimStore:
    """Manifests: step → the state that its chunks hold.

    Attributes:
        down_until: no request is answered before.
        failing: so many writes of workers are not answered.
    """

    def __init__(self, world: World, resume_step: int | None) -> None:
        self._world = world
        self.manifests: dict[int, int] = {}
        self.down_until = 0.0
        self.failing = 0
        if resume_step is not None:
            self.manifests[resume_step] = world.history[resume_step]

    @property
    def newest(self) -> int | None:
        """The step of the newest checkpoint."""
        return max(self.manifests, default=None)

    @property
    def is_down(self) -> bool:
        """Whether it does not answer at this moment."""
        return self._world.clock.now < self.down_until

    # --- workers ---

    def write(self, worker: SimWorker) -> None:
        """A worker's chunks of its state."""
        if self.is_down or self.failing:
            self.failing = max(0, self.failing - 1)
            raise Refused(f"{worker.name}: the store does not answer")

    def read(self, step: int) -> int:
        """The state of a checkpoint."""
        if self.is_down:
            raise Refused("the store does not answer")
        if step not in self.manifests:
            raise self._world.oracles.violation(f"checkpoint {step} is read, and there is none")
        return self.manifests[step]

    # --- the supervisor ---

    def commit(self, command: Commit) -> None:
        """See `orchestrator.supervisor.Checkpointing.commit`."""
        lost = self.is_down and self._world.rng.random() < 0.7
        if not lost:
            self._put(command)
        if self.is_down:
            raise UnreachableError("the store does not answer")

    def recall(self) -> int | None:
        """See `orchestrator.supervisor.Checkpointing.recall`."""
        if self.is_down:
            raise UnreachableError("the store does not answer")
        return self.newest

    def _put(self, command: Commit) -> None:
        """Every chunk is there, all of one state: the right one; and history grows at its end."""
        right = (command.step, self._world.history[command.step])
        whole = sorted(command.chunks) == list(range(CHUNKS)) and command.draft == {"step": command.step}
        if not whole or any(record != right for record in command.chunks.values()):
            raise self._world.oracles.violation(f"checkpoint {command.step} is not whole: {command.chunks}")
        if command.step < (self.newest or 0):
            raise self._world.oracles.violation(f"checkpoint {command.step} after that of {self.newest}")
        self.manifests[command.step] = right[1]
