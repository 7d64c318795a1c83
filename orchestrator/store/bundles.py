"""Which bundles of job folders are known to be in the object store."""

from __future__ import annotations

from sqlalchemy import Connection, insert, select

from orchestrator.store import tables


class Bundles:
    """The bundles in one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def stored(self, sha256: str) -> int | None:
        """The size in bytes of a bundle that is stored; None if it is not."""
        row = tables.bundles.c.sha256 == sha256
        return self._connection.scalar(select(tables.bundles.c.bytes).where(row))

    def add(self, sha256: str, size_bytes: int, *, now: float) -> None:
        """A bundle is stored now; it may have been before."""
        if self.stored(sha256) is None:
            row = {"sha256": sha256, "bytes": size_bytes, "stored_at": now}
            self._connection.execute(insert(tables.bundles).values(row))
