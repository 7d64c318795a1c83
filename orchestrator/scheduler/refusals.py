"""What a plan has found out: where a job got no room, one that wants as much or more gets none either.

Room only becomes less while a plan is made, and so do victims. So of thousands of jobs that wait for the same
only the first has to be looked at.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from enum import Enum
from math import inf

from orchestrator.scheduler.board import Board
from orchestrator.scheduler.config import Policy
from orchestrator.scheduler.reasons import Reason
from orchestrator.scheduler.room import Shape
from orchestrator.scheduler.snapshot import Job, Within
from orchestrator.scheduler.victims import Rank


class Outcome(Enum):
    """Of an attempt to start a job."""

    STARTED = "started"
    NO_ROOM = "no room"
    DELAYS = "there is room, but somebody would wait longer"


@dataclass(slots=True)
class Refusals:
    """Of jobs of one shape that have to share the same: what failed, and until when each would have run."""

    shape: Shape
    starts: list[tuple[int, float, int]] = field(default_factory=list)
    takes: dict[str, list[tuple[Rank, int, float]]] = field(default_factory=dict)

    def start(self, workers: int, until: float) -> Outcome | None:
        """How a start fails, if that is known."""
        for least, time, there in self.starts:
            if workers >= least and until >= time:
                return Outcome.DELAYS if workers <= there else Outcome.NO_ROOM
        return None

    def note_start(self, workers: int, until: float, there: int) -> None:
        """No gang of so many or more that runs until then can start; now there is room for `there`."""
        self.starts.insert(0 if until == 0.0 else len(self.starts), (workers, until, there))

    def taking(self, group: str, rank: Rank, workers: int, until: float) -> bool:
        """Whether others are known not to have enough."""
        for (first, second), least, time in self.takes.get(group, ()):
            if workers >= least and until >= time and rank[0] <= first and rank[1] <= second:
                return True
        return False

    def note_taking(self, group: str, rank: Rank, workers: int, until: float) -> None:
        """Others have too little for gangs of so many or more, of this rank or a lower one, until then."""
        self.takes.setdefault(group, []).append((rank, workers, until))


@dataclass(slots=True)
class Alike:
    """Jobs that ask for the same and stand alike, whatever limits their queues have.

    Attributes:
        refusals: of their shape.
        fits: one does on the nodes that there are, if nothing else runs.
        reason: why one waits that runs until `until` or longer, as long as there are no `changes` to who may
            take what from whom; None if unknown.
    """

    refusals: Refusals
    fits: bool
    reason: Reason | None = None
    until: float = inf
    changes: int = -1


@dataclass(frozen=True, slots=True)
class Standing:
    """Of jobs of one kind in one queue.

    Attributes:
        limited: their queue has limits, or there is no such queue.
        rejected: why one can never run.
    """

    alike: Alike
    limited: bool
    rejected: Reason | None


class AllRefusals:
    """By shape and what has to be shared; and by all that matters beside."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self._known: dict[tuple[Shape, Within], Refusals] = {}
        self._alike: dict[Hashable, Alike] = {}
        self._by_queue: dict[str, dict[Hashable, Standing]] = {}
        self._free: dict[Hashable, Standing] = {}
        self._fair = board.config.policy is Policy.FAIR
        self._by_deadline = board.config.policy is Policy.DEADLINE

    def of(self, job: Job) -> Standing:
        """Of jobs like this one."""
        standings = self._by_queue.get(job.queue)
        if standings is None:
            standings = self._by_queue[job.queue] = self._of_queue(job.queue)
        kind = job.kind if not self._by_deadline or job.deadline is None else (job.kind, "in time")
        found = standings.get(kind)
        if found is None:
            limited = not self._board.ledger.is_unlimited(job.queue)
            rejected = self._board.ledger.impossible(job) if limited else None
            found = standings[kind] = Standing(self._alike_to(job, kind), limited, rejected)
        return found

    def _of_queue(self, queue: str) -> dict[Hashable, Standing]:
        """Queues without limits share theirs, unless it matters whose a job is."""
        return {} if self._fair or not self._board.ledger.is_unlimited(queue) else self._free

    def _alike_to(self, job: Job, kind: Hashable) -> Alike:
        key = (job.queue, kind) if self._fair else kind
        found = self._alike.get(key)
        if found is None:
            shape = self._board.room.shape(job)
            refusals = self._known.setdefault((shape, job.within), Refusals(shape))
            found = self._alike[key] = Alike(refusals, fits=self._board.misfit(job) is None)
        return found
