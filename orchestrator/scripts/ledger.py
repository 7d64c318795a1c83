"""Where the seconds of a script job's ranks went, as far as that can be seen from outside."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from orchestrator.records.ledger import Goodput
from workers.protocol import Activity


@dataclass
class ScriptLedger:
    """Each rank-second is in exactly one category; together they are what elapsed. Not thread-safe.

    `productive` is all the time in which a rank's program runs: whether it makes use of it, nobody but the
    program knows. Times are seconds by the caller's clock; one that runs backwards is taken to stand still.
    """

    _now: float = float("-inf")
    _doing: dict[int, tuple[Activity, float]] = field(default_factory=dict)
    _past: dict[Activity, float] = field(default_factory=lambda: dict.fromkeys(Activity, 0.0))

    def begin(self, ranks: Iterable[int], activity: Activity, now: float) -> None:
        """From `now` on, these ranks spend their time on this."""
        now = self._advance(now)
        for rank in ranks:
            self._close(rank, now)
            self._doing[rank] = (activity, now)

    def begin_all(self, activity: Activity, now: float) -> None:
        """The same, for all ranks that there are."""
        self.begin(tuple(self._doing), activity, now)

    def only(self, ranks: int, now: float) -> None:
        """From `now` on there are the ranks below this number, and no others."""
        now = self._advance(now)
        for rank in [rank for rank in self._doing if rank >= ranks]:
            self._close(rank, now)

    def totals(self, now: float) -> Goodput:
        """Where all rank-seconds until `now` have gone."""
        now = self._advance(now)
        seconds = dict(self._past)
        for activity, since in self._doing.values():
            seconds[activity] += now - since
        return Goodput(seconds=seconds, elapsed=sum(seconds.values()))

    def _close(self, rank: int, now: float) -> None:
        if rank in self._doing:
            activity, since = self._doing.pop(rank)
            self._past[activity] += now - since

    def _advance(self, now: float) -> float:
        self._now = max(self._now, now)
        return self._now
