"""What is said between a script job's supervisor and whoever runs its ranks. Plain data.

A rank is told once what to run (`Launch`), and may be told to end. It answers with reports, in order.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from workers.protocol import Fault

#: What each process is told by `torchrun`, and so by us: no job may set these itself.
RESERVED = frozenset(
    {
        *("RANK", "LOCAL_RANK", "GROUP_RANK", "ROLE_RANK", "ROLE_NAME"),
        *("WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_WORLD_SIZE", "ROLE_WORLD_SIZE"),
        *("MASTER_ADDR", "MASTER_PORT", "CUDA_VISIBLE_DEVICES"),
        *("TORCHELASTIC_RUN_ID", "TORCHELASTIC_RESTART_COUNT", "TORCHELASTIC_MAX_RESTARTS"),
        *("TORCHELASTIC_USE_AGENT_STORE", "TORCHELASTIC_ERROR_FILE"),
        *("LOCKSTEP_JOB", "LOCKSTEP_RUN"),
    }
)


@dataclass(frozen=True, kw_only=True)
class Launch:
    """Run this now.

    Attributes:
        command: the program and its arguments.
        environment: beside what the machine's own environment has.
    """

    command: tuple[str, ...]
    environment: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Report:
    """Base of what is heard of a rank.

    Attributes:
        attempt: which start of the whole group it belongs to.
        time: seconds since the epoch, by the rank's machine.
    """

    rank: int
    attempt: int
    time: float


@dataclass(frozen=True, kw_only=True)
class Up(Report):
    """There is room for the rank, and its folder is there; it waits for its `Launch`.

    Attributes:
        node: the machine's name, for people.
        node_id: unique among the cluster's nodes.
        host: an address that the other ranks can reach.
        port: free on that host a moment ago.
        gpus: its own, as CUDA_VISIBLE_DEVICES names them.
    """

    node: str
    node_id: str
    host: str
    port: int
    gpus: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Started(Report):
    """Its process runs."""

    pid: int


@dataclass(frozen=True, kw_only=True)
class Line(Report):
    """A line of its output.

    Attributes:
        stream: "stdout" or "stderr".
        text: without the line's end.
    """

    stream: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Exited(Report):
    """Its process has ended, and everything that it had started.

    Attributes:
        code: its exit code, or
        signal: the number of the signal that ended it.
        trace: the Python traceback that it wrote last, if any.
        last: the last words on stderr, where there is no traceback.
    """

    code: int | None
    signal: int | None = None
    trace: str | None = None
    last: str = ""


@dataclass(frozen=True, kw_only=True)
class Refused(Report):
    """It cannot be started, and that will not change: no such program, a folder that does not unpack."""

    message: str


@dataclass(frozen=True, kw_only=True)
class Gone(Report):
    """Whoever ran it is gone, and it with them."""

    cause: str
    fault: Fault = Fault.CRASH


@dataclass(frozen=True, kw_only=True)
class Placed:
    """All ranks of an attempt have their places."""

    attempt: int


ScriptNews = Up | Started | Line | Exited | Refused | Gone | Placed


@dataclass(frozen=True, kw_only=True)
class Recollection:
    """What the runner of a rank remembers, for a supervisor that begins anew.

    Attributes:
        ranks: how many the attempt has.
        reports: all but the lines.
        position: the number of the last report, lines included.
    """

    rank: int
    attempt: int
    ranks: int
    reports: tuple[Report, ...]
    position: int
