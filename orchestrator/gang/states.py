"""Where a job can be in its life. Each state carries only what it needs; all are frozen values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from workers.protocol import Fault, Membership, Ready, Saved


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a job ended.

    Attributes:
        done: it reached its last step and everything is saved.
        fault, message, trace: why it did not.
        exit_code: 0 done, 1 failed, 2 the input was wrong, 3 a system was unreachable.
        worker, step: who reported the failure, and in which step.
    """

    done: bool
    exit_code: int = 0
    fault: Fault | None = None
    message: str = ""
    trace: str | None = None
    worker: str | None = None
    step: int | None = None


@dataclass(frozen=True, kw_only=True)
class Starting:
    """Workers build the recipe; those in `ready` wait for the others."""

    workers: tuple[str, ...]
    virtual_ranks: int
    resume_step: int | None
    ready: Mapping[str, Ready] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Training:
    """A generation is at work.

    Attributes:
        saves: checkpoints whose chunks are not all durable yet: step → worker → report.
        committing: steps whose manifest is being written.
        finished: workers that have applied the last step and saved all they had to.
        broken: workers whose exchange with a peer broke, with the first report of each.
    """

    membership: Membership
    saves: Mapping[int, Mapping[str, Saved]] = field(default_factory=dict)
    committing: frozenset[int] = frozenset()
    finished: frozenset[str] = frozenset()
    broken: Mapping[str, Outcome] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Ended:
    """Nothing happens any more."""

    outcome: Outcome


State = Starting | Training | Ended
