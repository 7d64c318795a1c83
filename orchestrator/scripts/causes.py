"""Why a group has failed: of all that its ranks died of, the one thing that the rest are consequences of."""

from __future__ import annotations

import re
import signal
from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.exit_codes import FAILED
from orchestrator.gang.states import Outcome
from orchestrator.scripts.states import Member
from workers.errors import InputError
from workers.protocol import Fault
from workers.script.protocol import Exited, Gone, Refused
from workers.script.traces import exception_type, place, summary

#: A shell's exit code for a program that was ended by a signal: 128 and its number.
_SHELL = 128
_SIGNALS = {number.value for number in signal.Signals}
#: What programs say when a peer is gone. That is never the cause, as long as there is another one.
_PEER = re.compile(
    r"DistNetworkError|DistBackendError|DistStoreError|Connection (closed|reset) by peer|Broken pipe"
    r"|ncclRemoteError|ncclSystemError|NCCL (communicator was aborted|timeout)|Connection refused"
    r"|Timed out waiting|Socket Timeout|watchdog",
    re.IGNORECASE,
)
_MEMORY = re.compile(r"out of memory|can't allocate memory|Cannot allocate memory", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Cause:
    """What a group failed of.

    Attributes:
        signature: of an error in the program itself; equal for the same mistake.
    """

    fault: Fault
    rank: int | None
    message: str
    trace: str | None = None
    signature: tuple[str, ...] | None = None

    def outcome(self, message: str | None = None) -> Outcome:
        """How this ends the job."""
        return Outcome(
            done=False,
            exit_code=InputError.exit_code if self.fault is Fault.INPUT else FAILED,
            fault=self.fault,
            message=message or self.message,
            trace=self.trace,
            worker=f"rank-{self.rank}" if self.rank is not None else None,
        )


def find_cause(members: Sequence[Member]) -> Cause:
    """Of a group that has failed, all of whose ranks have ended.

    A lost node comes first; then what can never be started; then a death by a signal that nobody here sent;
    then the first error of a program. What programs say of lost peers, or abort for, counts only where there
    is nothing else.
    """
    failed = [member for member in members if _is_failure(member)]
    if not failed:
        return Cause(fault=Fault.INTERNAL, rank=None, message="the group ended without a cause")
    return _cause(min(failed, key=_order))


def signal_of(end: Exited) -> int | None:
    """The signal that ended a rank, or the program inside its shell."""
    if end.signal is not None:
        return end.signal
    number = (end.code or 0) - _SHELL
    return number if number in _SIGNALS else None


def _is_failure(member: Member) -> bool:
    end = member.end
    if not isinstance(end, Exited):
        return end is not None
    if end.code == 0:
        return False
    return not (member.told and signal_of(end) in (signal.SIGTERM, signal.SIGKILL))


def _order(member: Member) -> tuple[int, float, int]:
    return _weight(member), member.end.time if member.end is not None else 0.0, member.rank


def _weight(member: Member) -> int:
    end = member.end
    if isinstance(end, Gone):
        return 0 if end.fault is Fault.NODE else 2
    if isinstance(end, Refused):
        return 1
    if end is None:
        return 9
    number = signal_of(end)
    if number is not None:
        return 5 if number == signal.SIGABRT else 2  # libraries abort when a peer is gone
    return 6 if _PEER.search(_words(end)) else 3 if not member.told else 4


def _cause(member: Member) -> Cause:
    end, rank = member.end, member.rank
    if isinstance(end, Gone):
        return Cause(fault=end.fault, rank=rank, message=f"rank {rank}: {end.cause}")
    if isinstance(end, Refused):
        return Cause(fault=Fault.INPUT, rank=rank, message=end.message)
    if end is None:
        raise ValueError(f"rank {rank} has not ended")
    number = signal_of(end)
    if number is not None:
        name = signal.Signals(number).name if number in _SIGNALS else f"signal {number}"
        hint = ": the machine may be out of memory" if number == signal.SIGKILL else ""
        message = f"rank {rank} was ended by {name}{hint}"
        return Cause(fault=Fault.CRASH, rank=rank, message=message, trace=end.trace)
    words = _words(end)
    message = f"rank {rank} ended with exit code {end.code}"
    message += f": {words}" if words else ""
    if _MEMORY.search(words) or (end.trace and exception_type(end.trace) == "MemoryError"):
        return Cause(fault=Fault.MEMORY, rank=rank, message=message, trace=end.trace)
    if _PEER.search(words):
        return Cause(fault=Fault.LINK, rank=rank, message=message, trace=end.trace)
    signature = (f"exit code {end.code}", *(place(end.trace) if end.trace else ()))
    return Cause(fault=Fault.USER, rank=rank, message=message, trace=end.trace, signature=signature)


def _words(end: Exited) -> str:
    """What a program said last, on one line."""
    return summary(end.trace) if end.trace else end.last.rpartition("\n")[2]
