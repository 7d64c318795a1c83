"""Who did what, or tried to. Written once, never changed, and removed when it is old."""

from __future__ import annotations

from sqlalchemy import Connection, delete, insert, select

from orchestrator.store import tables
from orchestrator.store.records import AuditRecord

_ADD = insert(tables.audit).returning(tables.audit.c.number)


class Audit:
    """The audit log in one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(
        self,
        *,
        now: float,
        who: str,
        action: str,
        target: str,
        address: str,
        allowed: bool,
        detail: str = "",
    ) -> int:
        """Write an entry; its number. See `AuditRecord`."""
        values = {
            "time": now,
            "who": who,
            "action": action,
            "target": target,
            "address": address,
            "allowed": allowed,
            "detail": detail,
        }
        return int(self._connection.execute(_ADD, values).scalar_one())

    def purge(self, *, before: float, limit: int) -> bool:
        """Remove entries from before a time, of the `limit` oldest; whether there may be more of them."""
        number, time = tables.audit.c.number, tables.audit.c.time
        rows = self._connection.execute(select(number, time).order_by(number).limit(limit)).all()
        gone = [row.number for row in rows if row.time < before]
        if gone:
            self._connection.execute(delete(tables.audit).where(number.in_(gone)))
        return len(gone) == limit

    def page(self, *, before: int | None = None, limit: int = 100) -> list[AuditRecord]:
        """The `limit` newest entries with a lower number than `before`, newest first."""
        rows = select(tables.audit)
        if before is not None:
            rows = rows.where(tables.audit.c.number < before)
        found = self._connection.execute(rows.order_by(tables.audit.c.number.desc()).limit(limit))
        return [AuditRecord(**row._mapping) for row in found]
