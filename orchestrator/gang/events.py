"""What the gang hears beside the workers' own reports (`workers.protocol`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from workers.protocol import Beat, Fault, Lost, Placed, Report, Vanished


@dataclass(frozen=True, kw_only=True)
class Tick:
    """Time has passed. Comes several times a second."""


@dataclass(frozen=True, kw_only=True)
class Committed:
    """The manifest of a checkpoint is durable."""

    step: int


@dataclass(frozen=True, kw_only=True)
class CommitFailed:
    """The manifest of a checkpoint could not be written. `passing`: it may be the store's passing trouble."""

    step: int
    message: str
    exit_code: int
    fault: Fault = Fault.STORAGE
    passing: bool = True


@dataclass(frozen=True, kw_only=True)
class Recalled:
    """The newest checkpoint that verifies is of `step`; None if there never was one."""

    step: int | None


@dataclass(frozen=True, kw_only=True)
class RecallFailed:
    """No checkpoint could be restored from."""

    message: str
    exit_code: int
    fault: Fault


@dataclass(frozen=True, kw_only=True)
class Resize:
    """The job should have so many workers.

    Attributes:
        places: so many of them on each node; None where the cluster chooses.
        number: counts up, so that whoever sent it can see that it has arrived.
    """

    workers: int
    places: Mapping[str, int] | None = None
    number: int = 0


@dataclass(frozen=True, kw_only=True)
class Drain:
    """A node goes away: its workers must be gone within so many seconds."""

    node: str
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Pause:
    """Stand still at the next step boundary, and keep all state in memory."""


@dataclass(frozen=True, kw_only=True)
class Resume:
    """Go on after a pause."""


@dataclass(frozen=True, kw_only=True)
class SaveNow:
    """Make a checkpoint at the next step boundary, and go on."""


@dataclass(frozen=True, kw_only=True)
class Stop:
    """Save at the next step boundary, and end. After so many seconds it ends in any case, with the newest
    checkpoint that there is."""

    seconds: float


@dataclass(frozen=True, kw_only=True)
class Interrupted:
    """The user asked to stop now."""


Wish = Resize | Drain | Pause | Resume | SaveNow | Stop | Interrupted
_Answer = Committed | CommitFailed | Recalled | RecallFailed
GangEvent = Report | Beat | Lost | Vanished | Placed | Tick | _Answer | Wish
