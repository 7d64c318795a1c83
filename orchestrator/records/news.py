"""What a follower of a job hears, and the history that it is taken from."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from orchestrator.gang.states import Outcome
from orchestrator.records.status import JobView
from orchestrator.records.steplog import Entry, LogEntry


@dataclass(frozen=True, kw_only=True)
class News:
    """What a follower hears.

    Attributes:
        incarnation: changes when the supervisor had to start again; its history then begins anew.
        entries: history after what the follower knows.
        position: how far that goes.
        view: the job as it is now.
        outcome: how it ended, when it has.
        held: for how many workers it has room on each node that was named, or waits for it.
        heeded: the number of the last `Resize` that it has heard of.
    """

    incarnation: str
    entries: tuple[Entry, ...]
    position: int
    view: JobView
    outcome: Outcome | None
    held: Mapping[str, int] = field(default_factory=dict)
    heeded: int = 0


class History:
    """Entries in order, numbered from 0. Of lines of output only the latest are kept.

    Args:
        lines_max: how many of these.
    """

    def __init__(self, lines_max: int = 20_000) -> None:
        self._changed = threading.Condition()
        self._entries: deque[tuple[int, Entry]] = deque()
        self._lines: deque[tuple[int, Entry]] = deque()
        self._lines_max = lines_max
        self._length = 0
        self._closed = False

    def add(self, entry: Entry) -> None:
        """Something happened. From any thread."""
        with self._changed:
            lines = isinstance(entry, LogEntry)
            (self._lines if lines else self._entries).append((self._length, entry))
            self._length += 1
            if len(self._lines) > self._lines_max:
                self._lines.popleft()
            self._changed.notify_all()

    def close(self) -> None:
        """Nothing more is going to happen: nobody needs to wait."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def since(self, position: int, timeout: float) -> tuple[tuple[Entry, ...], int]:
        """Entries from a position on, and the position after them; waits for the first of them."""
        with self._changed:
            self._changed.wait_for(lambda: self._length > position or self._closed, timeout)
            found = [*_from(self._entries, position), *_from(self._lines, position)]
            return tuple(entry for _, entry in sorted(found, key=lambda each: each[0])), self._length


def _from(entries: deque[tuple[int, Entry]], position: int) -> list[tuple[int, Entry]]:
    """Those from a position on: mostly few, at the end."""
    found = []
    for numbered in reversed(entries):
        if numbered[0] < position:
            break
        found.append(numbered)
    return found
