"""What the group wants done."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from workers.script.protocol import Launch as LaunchOrder


@dataclass(frozen=True, kw_only=True)
class Hire:
    """Find places for so many ranks, for all of them or for none.

    Attributes:
        places: so many on each node; None where the cluster chooses, but
        avoid: not these nodes.
    """

    attempt: int
    ranks: int
    places: Mapping[str, int] | None = None
    avoid: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True)
class Launch:
    """Start the program of every rank of an attempt, by rank."""

    attempt: int
    orders: tuple[LaunchOrder, ...]


@dataclass(frozen=True, kw_only=True)
class Terminate:
    """Ask these ranks to end (SIGTERM)."""

    attempt: int
    ranks: tuple[int, ...]
    why: str
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Kill:
    """End these ranks, with all that they have started (SIGKILL)."""

    attempt: int
    ranks: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Dismiss:
    """Nothing of an attempt is needed any more: give its places back. What may still run there is killed."""

    attempt: int


@dataclass(frozen=True, kw_only=True)
class Retry:
    """The group has failed, for this reason, and is started again in so many seconds. For people."""

    attempt: int
    reason: str
    cause: str
    rank: int | None
    trace: str | None
    seconds: float


Command = Hire | Launch | Terminate | Kill | Dismiss | Retry
