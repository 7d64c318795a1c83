"""What is heard of workers beside their own reports, and what they remember for a new supervisor."""

from __future__ import annotations

from dataclasses import dataclass

from workers.protocol.events import Fault, Pulse, Report
from workers.protocol.orders import Hold, Membership


@dataclass(frozen=True, kw_only=True)
class Beat:
    """A sign of life of a worker, and what it is doing; not kept, unlike an event."""

    worker: str
    pulse: Pulse


@dataclass(frozen=True, kw_only=True)
class Lost:
    """A worker's process is gone: said by whoever watches it, not by itself.

    Attributes:
        by_itself: it is known that nobody else ended it: it exited, or broke down as with SIGSEGV.
    """

    worker: str
    cause: str
    fault: Fault = Fault.CRASH
    by_itself: bool = False


@dataclass(frozen=True, kw_only=True)
class Vanished:
    """A worker's connection has closed, so its process is gone; why is heard later, as `Lost`."""

    worker: str


@dataclass(frozen=True, kw_only=True)
class Stacks:
    """What a worker that was ended for hanging was doing: the Python stacks of all its threads."""

    worker: str
    text: str


@dataclass(frozen=True, kw_only=True)
class StandsBy:
    """A process on a node is ready to take the place of a worker that is lost there."""

    node: str
    pid: int


@dataclass(frozen=True, kw_only=True)
class Placed:
    """Workers have their places; their processes start."""

    workers: tuple[str, ...]


#: All that can be heard of workers.
News = Report | Beat | Lost | Vanished | Stacks | StandsBy | Placed


@dataclass(frozen=True, kw_only=True)
class Memory:
    """What a worker remembers, for a supervisor that begins anew.

    Attributes:
        membership, hold: the newest that it was told.
        events: its newest one of each kind, and its latest ones, in the order in which they happened.
        position: the number of the last of them; see `workers.outbox`.
    """

    worker: str
    membership: Membership | None
    hold: Hold | None
    events: tuple[Report, ...]
    position: int
