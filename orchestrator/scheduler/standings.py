"""Which jobs stand alike: what one of them was refused need not be looked at for the others."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf

from orchestrator.scheduler.board import Board
from orchestrator.scheduler.config import Policy
from orchestrator.scheduler.refusals import Refusals
from orchestrator.scheduler.room import Shape
from orchestrator.scheduler.snapshot import Job, Within


@dataclass(slots=True)
class Alike:
    """Jobs that ask for the same and are of one priority; of one queue, where that matters.

    Attributes:
        shape: what each worker asks for.
        refusals: of those who may use the same nodes.
        fits: so many workers fit on the nodes that there are, if nothing else runs.
        waits: a gang of so many workers that runs until then has to wait, and so has any that asks for more
            or for longer, as long as its queue `regains` no quota.
        there: so many workers have room now, but would delay somebody.
    """

    shape: Shape
    refusals: Refusals
    fits: int
    waits: list[tuple[int, float]] = field(default_factory=list)
    regains: int = 0
    there: int = 0

    def has_to_wait(self, workers: int, until: float) -> bool:
        """Whether that is known."""
        if workers <= self.fits:
            for least, time in self.waits:
                if workers >= least and until >= time:
                    return True
        return False

    def note(self, workers: int, until: float) -> None:
        """Such a gang has to wait."""
        self.waits = [(w, t) for w, t in self.waits if w < workers or t < until]
        self.waits.append((workers, until))
        self.there = self.refusals.there(self.shape)


@dataclass(frozen=True, slots=True)
class Standing:
    """Of jobs of one kind in one queue.

    Attributes:
        limited: their queue has limits, or there is no such queue.
        allowed: the most workers that one may ever have.
    """

    alike: Alike
    limited: bool
    allowed: float


class Standings:
    """Where jobs stand, by queue and kind."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self._refusals: dict[tuple[object, Within], Refusals] = {}
        self._alike: dict[str, Alike] = {}
        self._by_queue: dict[str, dict[str, Standing]] = {}
        self._free: dict[str, Standing] = {}
        self._fair = board.config.policy is Policy.FAIR
        self._by_deadline = board.config.policy is Policy.DEADLINE

    def of(self, job: Job) -> Standing:
        """Of jobs like this one."""
        standings = self._by_queue.get(job.queue)
        if standings is None:
            standings = self._by_queue[job.queue] = self._of_queue(job.queue)
        kind = job.kind
        if self._by_deadline and job.deadline is not None:
            kind += " in time"
        found = standings.get(kind)
        if found is None:
            ledger = self._board.ledger
            limited = not ledger.is_unlimited(job.queue)
            allowed = ledger.allowed(job) if limited else inf
            found = standings[kind] = Standing(self._alike_to(job, kind), limited, allowed)
        return found

    def _of_queue(self, queue: str) -> dict[str, Standing]:
        """Queues without limits share theirs, unless it matters whose a job is."""
        return {} if self._fair or not self._board.ledger.is_unlimited(queue) else self._free

    def _alike_to(self, job: Job, kind: str) -> Alike:
        found = self._alike.get(kind)
        if found is None:
            board = self._board
            shape = board.room.shape(job)
            nodes = (shape.selector, job.within)
            if nodes not in self._refusals:
                self._refusals[nodes] = Refusals(board.room, job.within)
            found = self._alike[kind] = Alike(shape, self._refusals[nodes], board.fits(shape, job.within))
        if self._fair:
            regains = self._board.ledger.regains.get(job.queue, 0)
            return Alike(found.shape, found.refusals, found.fits, regains=regains)
        return found
