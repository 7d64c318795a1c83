"""What happens by itself in a simulated cluster, in the order of its time."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from math import inf


@dataclass(frozen=True, slots=True)
class Ends:
    """A job is done, unless its ticket is another one by then."""

    job: str
    ticket: int


@dataclass(frozen=True, slots=True)
class Left:
    """Workers that were told to go are gone."""

    job: str
    spots: dict[str, int]


@dataclass(frozen=True, slots=True)
class Boots:
    """A node that was asked for is up."""

    node: str


@dataclass(frozen=True, slots=True)
class Fails:
    """A node dies. `life` says which of its lives was meant."""

    node: str
    life: int


@dataclass(frozen=True, slots=True)
class Notice:
    """A spot node is about to be taken away."""

    node: str
    life: int


@dataclass(frozen=True, slots=True)
class TakenAway:
    """It is."""

    node: str
    life: int


@dataclass(frozen=True, slots=True)
class Returns:
    """A node that was gone is there again."""

    node: str


Event = Ends | Left | Boots | Fails | Notice | TakenAway | Returns


@dataclass(slots=True)
class Agenda:
    """What will happen. Of events of the same moment, what was written down first comes first."""

    _heap: list[tuple[float, int, Event]] = field(default_factory=list)
    _count: int = 0

    def add(self, at: float, event: Event) -> None:
        """It happens then; never, if that is infinitely far."""
        if at < inf:
            self._count += 1
            heapq.heappush(self._heap, (at, self._count, event))

    @property
    def next_at(self) -> float:
        """When something happens next."""
        return self._heap[0][0] if self._heap else inf

    def pop(self) -> Event:
        """What does."""
        return heapq.heappop(self._heap)[2]
