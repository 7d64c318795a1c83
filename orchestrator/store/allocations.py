"""Which jobs hold which nodes: rows of a job exist while it is starting, running or stopping."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import Connection, bindparam, delete, insert, select

from orchestrator.store import tables
from orchestrator.store.records import AllocationRecord

_PUT = insert(tables.allocations)
_DROP = delete(tables.allocations).where(tables.allocations.c.job == bindparam("the_job"))


class Allocations:
    """The allocations in one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def of(self, job: str) -> tuple[AllocationRecord, ...]:
        """A job's, by node."""
        rows = select(tables.allocations).where(tables.allocations.c.job == job)
        found = self._connection.execute(rows.order_by(tables.allocations.c.node))
        return tuple(AllocationRecord(**row._mapping) for row in found)

    def all(self) -> tuple[AllocationRecord, ...]:
        """All, by job and node."""
        rows = select(tables.allocations).order_by(tables.allocations.c.job, tables.allocations.c.node)
        return tuple(AllocationRecord(**row._mapping) for row in self._connection.execute(rows))

    def put(self, job: str, workers: Mapping[str, int], leaving: Mapping[str, int] | None = None) -> None:
        """Replace a job's by these; nodes with no workers are left out.

        Args:
            workers: node → how many are there, those that leave included.
            leaving: node → how many of these were told to go.
        """
        self.drop(job)
        rows = [
            {"job": job, "node": node, "workers": count, "leaving": (leaving or {}).get(node, 0)}
            for node, count in workers.items()
            if count
        ]
        if rows:
            self._connection.execute(_PUT, rows)

    def drop(self, job: str) -> None:
        """A job holds nothing any more. `Jobs.move` does it for jobs that come to hold nothing."""
        self._connection.execute(_DROP, {"the_job": job})
