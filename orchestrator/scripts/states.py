"""Where a group of ranks can be in its life, as frozen values: what holds in all phases, and each phase."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import IntEnum

from orchestrator.gang.states import Outcome
from orchestrator.scripts.job import Policy, ScriptJob
from workers.protocol import Fault
from workers.script.protocol import Exited, Gone, Refused, Up


class Why(IntEnum):
    """What a group is ended for; a higher one takes a lower one's place."""

    RESIZE = 1
    DRAIN = 2
    FAILURE = 3
    PAUSE = 4
    STOP = 5
    CANCEL = 6


@dataclass(frozen=True, kw_only=True)
class Member:
    """A rank of the current attempt.

    Attributes:
        up: where it is, as soon as it has a place.
        pid: its process, as soon as it runs.
        end: how it ended, and
        told: whether it had been asked to, by then.
    """

    rank: int
    up: Up | None = None
    pid: int | None = None
    end: Exited | Refused | Gone | None = None
    told: bool = False


@dataclass(frozen=True, kw_only=True)
class Hiring:
    """Places are being found; nothing runs."""

    since: float


@dataclass(frozen=True, kw_only=True)
class Running:
    """Every rank was started."""

    since: float


@dataclass(frozen=True, kw_only=True)
class Ending:
    """The ranks were asked to end, and are killed at `kill_at`; or they were killed, and are given up then.

    Attributes:
        since: when the group had been started.
    """

    why: Why
    kill_at: float
    since: float
    killed: bool = False


@dataclass(frozen=True, kw_only=True)
class Waiting:
    """The group has failed, and is started again at `until`."""

    until: float


@dataclass(frozen=True, kw_only=True)
class Paused:
    """Nothing runs, as its owner wants it."""


@dataclass(frozen=True, kw_only=True)
class Ended:
    """Nothing happens any more."""

    outcome: Outcome


Phase = Hiring | Running | Ending | Waiting | Paused | Ended


@dataclass(frozen=True, kw_only=True)
class Trouble:
    """Failures since the group last settled.

    Attributes:
        counts: by class.
        in_a_row: all of them.
        signature: of the latest failure, if it was an error of the program itself: two that are equal tell of
            one mistake.
    """

    counts: Mapping[Fault, int] = field(default_factory=dict)
    in_a_row: int = 0
    signature: tuple[str, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class Group:
    """One script job at one moment.

    Attributes:
        target: how many ranks it should have, and
        places: how many of them on each node; None where the cluster chooses, but on none of those to
        avoid.
        attempt: the current start of the group, or the last one, counted from 0; -1 before the first.
        members: the ranks of this attempt.
        paused: its owner wants it to stand still.
    """

    job: ScriptJob
    policy: Policy
    phase: Phase
    target: int
    places: Mapping[str, int] | None = None
    avoid: frozenset[str] = frozenset()
    attempt: int = -1
    members: tuple[Member, ...] = ()
    trouble: Trouble = field(default_factory=Trouble)
    paused: bool = False

    @property
    def living(self) -> tuple[int, ...]:
        """Ranks of the current attempt that have not ended."""
        return tuple(member.rank for member in self.members if member.end is None)

    def having(self, changed: Member) -> Group:
        """With this member in the place of the one of its rank."""
        members = tuple(changed if member.rank == changed.rank else member for member in self.members)
        return replace(self, members=members)
