"""What the gang wants done. The supervisor carries these out and reports back with events."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from workers.protocol import Json, Membership


@dataclass(frozen=True, kw_only=True)
class Form:
    """Send this membership to all of its workers."""

    membership: Membership


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


Command = Form | Commit | Announce
