"""What a plan has found out: where a job got no room, one that wants as much or more gets none either.

Room only becomes less while a plan is made, and so do victims. So of thousands of jobs that wait for the same
only the first has to be looked at. There are exceptions: who is told to leave may leave more than whoever he
leaves for needs, and a queue that comes to borrow more may have to give more back. Nobody asks for that again
in the same plan; there is a next one, as this one changes something.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum

from orchestrator.scheduler.lacks import Lack
from orchestrator.scheduler.placement import most
from orchestrator.scheduler.room import SOON, Room, Shape
from orchestrator.scheduler.snapshot import Within
from orchestrator.scheduler.victims import Rank


class Outcome(Enum):
    """Of an attempt to start a job."""

    STARTED = "started"
    NO_ROOM = "no room"
    DELAYS = "there is room, but somebody would wait longer"


#: So many workers or more, which would run until then or longer.
Bound = tuple[int, float]
#: Amounts of a worker (CPUs, GPUs, memory), workers, until when it would have run.
_Start = tuple[int, int, int, int, float]
#: The same, and its rank.
_Take = tuple[int, int, int, int, float, int, int]


class Refusals:
    """Of jobs that may use the same nodes and have to share the same: what failed.

    What failed for one fails for whoever asks for as much of each kind, for as many workers, for as long, and
    has no more victims.
    """

    def __init__(self, room: Room, within: Within) -> None:
        self._room, self._within = room, within
        self._starts: list[_Start] = []
        self._takes: dict[str, list[_Take]] = {}
        self._there: dict[Shape, int] = {}

    def start(self, shape: Shape, workers: int, until: float) -> Bound | None:
        """For whom it is known that a start fails, if it is for this one."""
        cpu, gpu, memory = shape.amounts
        for cpu_least, gpu_least, memory_least, least, time in self._starts:
            if workers < least or until < time:
                continue
            if gpu >= gpu_least and cpu >= cpu_least and memory >= memory_least:
                return least, time
        return None

    def outcome(self, shape: Shape, workers: int) -> Outcome:
        """Of a start that fails."""
        return Outcome.DELAYS if workers <= self.there(shape) else Outcome.NO_ROOM

    def note_start(self, *lacks: Lack) -> None:
        """There was too little room."""
        self._starts += [(*lack.amounts, lack.workers + 1, lack.until) for lack in lacks]

    def there(self, shape: Shape) -> int:
        """How many workers have room now, whomever they delay; as it was when first asked."""
        if shape not in self._there:
            free = self._room.free[: SOON + 1].min(axis=0)
            self._there[shape] = most(shape.fit(free) * shape.eligible, self._within, self._room)
        return self._there[shape]

    def taking(self, shape: Shape, group: str, rank: Rank, workers: int, until: float) -> Bound | None:
        """For whom it is known that others do not have enough, if it is for this one."""
        cpu, gpu, memory = shape.amounts
        first, second = rank
        for note in self._takes.get(group, ()):
            cpu_least, gpu_least, memory_least, least, time, most_first, most_second = note
            if workers < least or until < time or first > most_first or second > most_second:
                continue
            if gpu >= gpu_least and cpu >= cpu_least and memory >= memory_least:
                return least, time
        return None

    def note_taking(self, group: str, rank: Rank, lacks: Iterable[Lack]) -> None:
        """Others had too little for who is of this rank or a lower one."""
        takes = self._takes.setdefault(group, [])
        takes += [(*lack.amounts, lack.workers + 1, lack.until, *rank) for lack in lacks]
