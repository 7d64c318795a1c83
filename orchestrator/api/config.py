"""What the API is told when it is made, and what it needs of the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from orchestrator.api.binding import LOOPBACK_NAMES
from orchestrator.bundles import LIMITS


@dataclass(frozen=True, kw_only=True)
class Config:
    """Limits and names.

    Attributes:
        names: by which a request may call the service; see `binding.allowed_names`.
        body_bytes_max: of a request, bundles apart.
        bundle_bytes_max: of a bundle, as it is sent.
        followers_max: how many may follow events and logs at once.
        token_seconds: how long a good token is remembered; see `identity`.
        spool: folder for bundles that are on their way; None for the system's.
    """

    names: frozenset[str] = LOOPBACK_NAMES
    body_bytes_max: int = 1_000_000
    bundle_bytes_max: int = LIMITS.archive
    followers_max: int = 256
    token_seconds: float = 1.0
    spool: Path | None = None


class Logs(Protocol):
    """What jobs wrote to their output."""

    def read(self, job: str, after: int, limit: int) -> bytes:
        """Of a job's log, at most `limit` bytes from offset `after` on; nothing if there is no more."""


class Control(Protocol):
    """What only the control loop knows, or does at once."""

    def nodes(self) -> Sequence[Mapping[str, Any]]:
        """The nodes as the loop saw them last: `models.Node` as JSON."""

    def drain(self, node: str, seconds: float) -> None:
        """Empty a node within so many seconds.

        Raises:
            InputError: there is no such node.
        """

    def save(self, job: str) -> None:
        """Let a job, named by its id, make a checkpoint at its next step.

        Raises:
            InputError: it does not run, or saves none.
        """

    def snapshot(self) -> bytes:
        """What the scheduler saw last, as JSON (`orchestrator.scheduler.codec`)."""

    def metrics(self) -> bytes:
        """In Prometheus' text format."""
