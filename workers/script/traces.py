"""Finds the Python traceback in what a program wrote to stderr. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

_HEAD = "Traceback (most recent call last):"
_CHAINED = (
    "During handling of the above exception, another exception occurred:",
    "The above exception was the direct cause of the following exception:",
)
#: torch.distributed marks the lines of an uncaught exception with the rank.
_RANK = re.compile(r"^\[rank\d+\]:\s?")
_FRAME = re.compile(r'^  File "(?P<file>.+)", line (?P<line>\d+), in (?P<name>.+)$')
_MESSAGE_LINES_MAX = 20


def last_traceback(lines: Sequence[str]) -> str | None:
    """The last traceback among these lines, with those that it was raised from; None if there is none."""
    plain = [_RANK.sub("", line) for line in lines]
    heads = [number for number, line in enumerate(plain) if line == _HEAD]
    if not heads:
        return None
    first = last = heads.pop()
    while heads and _is_chain(plain[heads[-1] : first]):
        first = heads.pop()
    return "\n".join(plain[first : _end(plain, last)]) + "\n"


def place(trace: str) -> tuple[str, ...]:
    """What two tracebacks have in common that tell of one mistake: where it was raised, and its type.

    Messages are left out: they have numbers, addresses and times in them.
    """
    lines = trace.splitlines()
    frames = [match for line in lines if (match := _FRAME.match(line))]
    return (*(f"{frame['file']}:{frame['line']} {frame['name']}" for frame in frames), exception_type(trace))


def exception_type(trace: str) -> str:
    """`torch.OutOfMemoryError`; empty if the traceback was cut off before it."""
    lines = trace.splitlines()
    heads = [number for number, line in enumerate(lines) if line == _HEAD]
    after = lines[heads[-1] + 1 :] if heads else []
    line = next((line for line in after if line and not line.startswith(" ")), "")
    return line.partition(":")[0].strip()


def summary(trace: str) -> str:
    """The exception with the first line of its message: `ValueError: no such layer`."""
    lines = trace.splitlines()
    heads = [number for number, line in enumerate(lines) if line == _HEAD]
    after = lines[heads[-1] + 1 :] if heads else []
    return next((line for line in after if line and not line.startswith(" ")), "")


def _is_chain(between: Sequence[str]) -> bool:
    return any(line in _CHAINED for line in between)


def _end(lines: Sequence[str], head: int) -> int:
    """The line after a traceback: frames are indented; then comes the exception, whose message may go on."""
    number = head + 1
    while number < len(lines) and (lines[number].startswith(" ") or not lines[number]):
        number += 1
    stop = min(len(lines), number + _MESSAGE_LINES_MAX)
    while number < stop and lines[number]:
        number += 1
    return number
