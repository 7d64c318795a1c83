"""What the control loop asks of whoever runs jobs, and what it hears: plain data.

Orders say what should be, not what to do: the loop gives them again after each crash, and who carries them
out does what is missing. Nothing here waits. Whatever takes long is done beside the loop and comes back as a
report.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from orchestrator.gang import Outcome
from orchestrator.scheduler.snapshot import Resources


@dataclass(frozen=True, kw_only=True)
class ClusterNode:
    """A machine that is up. Amounts are all of it that jobs may use."""

    id: str
    capacity: Resources
    name: str = ""
    zone: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Heard:
    """How far a supervisor's history is known: of which incarnation, and how many entries."""

    incarnation: str = ""
    position: int = 0


@dataclass(frozen=True, kw_only=True)
class Order:
    """One attempt of a job, as it should be.

    Attributes:
        job: the job's id.
        start: "new", "resume" or "fresh"; see `orchestrator.store.records.Submission`.
        submitted_at: seconds since the epoch.
        places: workers on each node.
        number: counts up; a supervisor says which it has heeded.
        begin: start it, if there is none. Otherwise its absence is reported.
        stop: it should save and end.
        heard: of its history.
    """

    job: str
    name: str
    attempt: int
    spec: Mapping[str, Any]
    bundle: str | None
    start: str
    submitted_at: float
    places: Mapping[str, int]
    number: int
    begin: bool
    stop: bool
    heard: Heard = Heard()


@dataclass(frozen=True, kw_only=True)
class Told:
    """Something that a supervisor's history tells, but for steps: see `orchestrator.records.steplog`."""

    time: float
    kind: str
    cause: str
    reason: str
    data: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Seen:
    """A job as its supervisor sees it.

    Attributes:
        running: its workers have begun to train.
        view: what people see of it, as JSON.
        held: for how many workers it has room on each node, or waits for it; None if it does not say.
        heeded: the number of the last order that it knows of.
        told: what has happened since what was heard before.
        heard: how far that goes.
    """

    job: str
    attempt: int
    running: bool
    view: Mapping[str, Any]
    held: Mapping[str, int] | None
    heeded: int
    told: tuple[Told, ...] = ()
    heard: Heard = Heard()


@dataclass(frozen=True, kw_only=True)
class Over:
    """An attempt has ended, and why. Its supervisor is there until it is dismissed."""

    job: str
    attempt: int
    outcome: Outcome
    view: Mapping[str, Any]
    told: tuple[Told, ...] = ()
    heard: Heard = Heard()


@dataclass(frozen=True, kw_only=True)
class Missing:
    """There is no supervisor of this attempt, and nothing that it left behind."""

    job: str
    attempt: int
    why: str


@dataclass(frozen=True, kw_only=True)
class NotStarted:
    """An attempt could not be begun.

    Attributes:
        message: what is wrong, as the job's owner should read it.
        exit_code: as `workers.errors` has it.
        passing: it may go better later.
    """

    job: str
    attempt: int
    message: str
    exit_code: int
    passing: bool


Report = Seen | Over | Missing | NotStarted


class Executor(Protocol):
    """Runs jobs. Every method returns at once."""

    def nodes(self) -> Sequence[ClusterNode] | None:
        """The nodes that are up; None as long as the cluster does not answer."""

    def carry_out(self, order: Order) -> None:
        """See to it that an attempt is as ordered. The latest order about an attempt counts."""

    def dismiss(self, job: str, attempt: int) -> None:
        """The end of an attempt is noted: nothing of it is needed any more."""

    def save(self, job: str, attempt: int) -> None:
        """Let a running attempt make a checkpoint at its next step."""

    def present(self) -> Collection[tuple[str, int]] | None:
        """The attempts whose supervisors were there at the last look, and those that are being started; None
        as long as nobody has looked."""

    def reports(self) -> list[Report]:
        """What was heard since the last call, in the order of each attempt."""
