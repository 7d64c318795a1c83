"""What the gang hears beside the workers' own reports (`workers.protocol`)."""

from __future__ import annotations

from dataclasses import dataclass

from workers.protocol import Failed, Fault, Finished, Ready, Saved


@dataclass(frozen=True, kw_only=True)
class Lost:
    """A worker's process is gone."""

    worker: str
    cause: str


@dataclass(frozen=True, kw_only=True)
class Committed:
    """The manifest of a checkpoint is durable."""

    step: int


@dataclass(frozen=True, kw_only=True)
class CommitFailed:
    """The manifest of a checkpoint could not be written."""

    step: int
    message: str
    exit_code: int
    fault: Fault = Fault.STORAGE


@dataclass(frozen=True, kw_only=True)
class Interrupted:
    """The user asked to stop now."""


GangEvent = Ready | Saved | Finished | Failed | Lost | Committed | CommitFailed | Interrupted
