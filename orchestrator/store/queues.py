"""The queues. One called "default" is there from the start."""

from __future__ import annotations

from sqlalchemy import Connection, Row, bindparam, delete, func, insert, select, update

from orchestrator.store import tables
from orchestrator.store.records import QueueRecord
from workers.errors import InputError
from workers.patterns import nearest

DEFAULT = "default"
_BY_ID = select(tables.queues).where(tables.queues.c.id == bindparam("the_id"))


class Queues:
    """The queues in one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def all(self) -> tuple[QueueRecord, ...]:
        """All of them, by id."""
        rows = self._connection.execute(select(tables.queues).order_by(tables.queues.c.id))
        return tuple(_record(row) for row in rows)

    def get(self, id: str) -> QueueRecord:
        """One of them.

        Raises:
            InputError: there is none of this name; the nearest is told.
        """
        row = self._connection.execute(_BY_ID, {"the_id": id}).first()
        if row is not None:
            return _record(row)
        names = [queue.id for queue in self.all()]
        raise InputError(
            f"there is no queue {id!r}{nearest(id, names)}",
            where="queue",
            fix=f"use one of {', '.join(names)}, or ask an administrator to add it",
        )

    def put(self, queue: QueueRecord) -> bool:
        """Add it, or replace the one of the same id; whether it is a new one."""
        values = {
            "weight": queue.weight,
            "quota": None if queue.quota is None else dict(queue.quota),
            "limit": dict(queue.limit),
            "user_limit": dict(queue.user_limit),
        }
        row = tables.queues.c.id == queue.id
        if self._connection.execute(update(tables.queues).where(row).values(values)).rowcount:
            return False
        self._connection.execute(insert(tables.queues).values(id=queue.id, **values))
        return True

    def delete(self, id: str) -> None:
        """Remove it.

        Raises:
            InputError: it is not there, or it is the default one, or some of its jobs are not over.
        """
        self.get(id)
        if id == DEFAULT:
            raise InputError("the default queue stays", where=f"queue {id}", fix="set its limit to 0 instead")
        mine = tables.jobs.c.queue == id
        live = self._connection.scalar(select(func.count()).where(mine, tables.jobs.c.ended_at.is_(None)))
        if live:
            raise InputError(
                f"{live} of its jobs are not over", where=f"queue {id}", fix="wait for them, or cancel them"
            )
        self._connection.execute(delete(tables.queues).where(tables.queues.c.id == id))


def _record(row: Row[tuple[object, ...]]) -> QueueRecord:
    return QueueRecord(**row._mapping)
