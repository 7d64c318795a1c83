"""What is older than anybody asks for is removed, a little in each turn of the loop."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.store.database import Database

DAY_SECONDS = 86_400.0
#: Between the end of one pass over what is kept and the next one.
REST_SECONDS = 3600.0
#: Rows that are looked at in one turn: others wait for the writer meanwhile.
ROWS_MAX = 500


@dataclass(frozen=True, kw_only=True)
class Keep:
    """For how long.

    Attributes:
        event_days: after a job's end, its events. The job itself stays.
        audit_days: entries of the audit log.
    """

    event_days: float = 30.0
    audit_days: float = 365.0


class Retention:
    """One pass after the other, each in small steps."""

    def __init__(self, keep: Keep) -> None:
        self._keep = keep
        self._next_at = 0.0
        self._position = 0  # the last event that this pass has looked at

    def sweep(self, database: Database, now: float) -> bool:
        """One step, if it is time; whether this pass goes on.

        Raises:
            UnreachableError: the database is gone.
        """
        if now < self._next_at:
            return False
        events_before = now - self._keep.event_days * DAY_SECONDS
        audit_before = now - self._keep.audit_days * DAY_SECONDS
        with database.transaction() as tx:
            position = tx.events.purge(after=self._position, before=events_before, limit=ROWS_MAX)
            more_audit = tx.audit.purge(before=audit_before, limit=ROWS_MAX)
        if position is None and not more_audit:
            self._position, self._next_at = 0, now + REST_SECONDS
            return False
        self._position = self._position if position is None else position
        return True
