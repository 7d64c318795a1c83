"""Reports of a rank on their way to its supervisor: in order, and bounded if nobody fetches them."""

from __future__ import annotations

import time
from collections import deque
from threading import Condition

from workers.script.protocol import Line, Recollection, Report

#: Lines that wait; older ones are left out then. All of them are in the rank's files.
LINES_MAX = 5000
_BATCH = 2000

Numbered = tuple[int, Report]


class Mailbox:
    """Numbers reports from 1 on.

    Args:
        rank, attempt, ranks: whose they are.
        lines_max: see `LINES_MAX`.
    """

    def __init__(self, rank: int, attempt: int, ranks: int, lines_max: int = LINES_MAX) -> None:
        self._rank, self._attempt, self._ranks, self._lines_max = rank, attempt, ranks, lines_max
        self._changed = Condition()
        self._waiting: deque[Numbered] = deque()
        self._kept: list[Report] = []
        self._lines = self._left_out = self._position = 0

    def put(self, report: Report) -> None:
        """Take a report. Never blocks: when too many lines wait, the oldest is left out."""
        with self._changed:
            self._position += 1
            self._waiting.append((self._position, report))
            if not isinstance(report, Line):
                self._kept.append(report)
            else:
                self._lines += 1
                if self._lines > self._lines_max:
                    self._leave_one_out()
            self._changed.notify_all()

    def read(self, acknowledged: int, timeout: float) -> list[Numbered]:
        """Reports after this number; waits for the first of them. Those up to it are forgotten."""
        with self._changed:
            while self._waiting and self._waiting[0][0] <= acknowledged:
                _, report = self._waiting.popleft()
                self._lines -= isinstance(report, Line)
            self._changed.wait_for(lambda: bool(self._waiting), timeout)
            found = [numbered for numbered, _ in zip(self._waiting, range(_BATCH), strict=False)]
            if self._left_out and found:
                text = f"({self._left_out:,} lines were left out here; they are in the rank's files)"
                self._left_out = 0
                note = Line(
                    rank=self._rank, attempt=self._attempt, time=time.time(), stream="stderr", text=text
                )
                found.insert(0, (found[0][0], note))
            return found

    def remember(self) -> Recollection:
        """For a supervisor that has to begin anew."""
        with self._changed:
            return Recollection(
                rank=self._rank,
                attempt=self._attempt,
                ranks=self._ranks,
                reports=tuple(self._kept),
                position=self._position,
            )

    def _leave_one_out(self) -> None:
        index = next(i for i, (_, report) in enumerate(self._waiting) if isinstance(report, Line))
        del self._waiting[index]
        self._lines -= 1
        self._left_out += 1
