"""What the control loop remembers from one plan to the next, and anything else that is one JSON value."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, bindparam, insert, select, update

from orchestrator.store import tables

_LOAD = select(tables.memory.c.value).where(tables.memory.c.key == bindparam("the_key"))


class Memory:
    """JSON values under names, in one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def load(self, key: str, default: Any = None) -> Any:
        """What was saved under `key` last."""
        row = self._connection.execute(_LOAD, {"the_key": key}).first()
        return default if row is None else row.value

    def save(self, key: str, value: Any) -> None:
        """Replace what is under `key` by plain JSON that is not null."""
        row = tables.memory.c.key == key
        if not self._connection.execute(update(tables.memory).where(row).values(value=value)).rowcount:
            self._connection.execute(insert(tables.memory).values(key=key, value=value))
