"""Refused requests, as the audit log has them: many are counted, so that nobody can fill the disk with them.

Of each address and reason (and, with a token, request) the first refusal in a minute has an entry at once;
those that follow it in that minute have one together, when it is over. What goes beyond a limit of these is
counted as one. Pure, but for a lock.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace

MINUTE_SECONDS = 60.0
#: Of addresses and reasons in one minute: the next ones are no longer told apart.
KINDS_MAX = 100

_Kind = tuple[str, ...]
_ALL_OTHERS: _Kind = ()


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """A request that was refused, or the last of several; see `orchestrator.store.records.AuditRecord`."""

    time: float
    who: str
    action: str
    target: str
    address: str
    detail: str


@dataclass
class _Minute:
    ends_at: float
    last: Refusal
    more: int = 0


class Refusals:
    """What was refused in the last minute. From any thread."""

    def __init__(self) -> None:
        self._minutes: dict[_Kind, _Minute] = {}
        self._lock = threading.Lock()

    def add(self, refusal: Refusal) -> list[Refusal]:
        """What is to be written now that there is one more."""
        with self._lock:
            written = self._over(refusal.time)
            kind = _kind(refusal)
            if kind not in self._minutes and len(self._minutes) >= KINDS_MAX:
                kind = _ALL_OTHERS
            minute = self._minutes.get(kind)
            if minute is None:
                self._minutes[kind] = _Minute(ends_at=refusal.time + MINUTE_SECONDS, last=refusal)
                return [*written, refusal]
            minute.last, minute.more = refusal, minute.more + 1
            return written

    def over(self, now: float) -> list[Refusal]:
        """What is to be written of minutes that are over."""
        with self._lock:
            return self._over(now)

    def _over(self, now: float) -> list[Refusal]:
        over = {kind: minute for kind, minute in self._minutes.items() if minute.ends_at <= now}
        for kind in over:
            del self._minutes[kind]
        return [_together(minute) for minute in over.values() if minute.more]


def _kind(refusal: Refusal) -> _Kind:
    """Of whoever has a token, what they tried is told apart as well."""
    what = (refusal.who, refusal.action, refusal.target) if refusal.who else ()
    return refusal.address, refusal.detail, *what


def _together(minute: _Minute) -> Refusal:
    last = minute.last
    return replace(last, detail=f"{minute.more} more within a minute, the last one {last.detail}")
