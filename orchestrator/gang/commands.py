"""What the gang wants done. The supervisor carries these out and reports back with events."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from workers.protocol import Hold as HoldOrder
from workers.protocol import Membership

Json = Any


@dataclass(frozen=True, kw_only=True)
class Hire:
    """Start a process for each of these workers, on none of the nodes to `avoid`.

    Attributes:
        nodes: which node each goes to; empty where the cluster chooses.
    """

    workers: tuple[str, ...]
    avoid: frozenset[str] = frozenset()
    nodes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Form:
    """Send this membership to all of its workers.

    Attributes:
        keepers: those that are left out and keep the state until the members have it; they have to know of it
            too, so that they do not go on in the generation before.
    """

    membership: Membership
    why: str = ""
    keepers: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Hold:
    """Ask these workers to stop at the next step boundary."""

    order: HoldOrder
    workers: tuple[str, ...]
    why: str


@dataclass(frozen=True, kw_only=True)
class Dismiss:
    """End a worker's process; where it seems to hang, keep its Python stacks first."""

    worker: str
    why: str
    stacks: bool = False


@dataclass(frozen=True, kw_only=True)
class Commit:
    """Write the manifest of a checkpoint whose chunks are all durable."""

    step: int
    draft: Mapping[str, Json]
    chunks: Mapping[int, Json]


@dataclass(frozen=True, kw_only=True)
class Announce:
    """Tell these workers that a checkpoint is committed."""

    step: int
    workers: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class AskToSave:
    """Tell these workers that a checkpoint later than this step is wanted."""

    step: int
    workers: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Recall:
    """Find the newest checkpoint whose every byte verifies."""


Command = Hire | Form | Hold | Dismiss | Commit | Announce | AskToSave | Recall
