"""Two servers on one database would each give orders: one works, and another one is refused.

Whoever works holds a lock, of the database or beside SQLite's file, that goes when its process does. That
alone would not do: PostgreSQL's goes with the connection as well, and whoever has lost one does not know it
yet. So who begins to work writes its name into the database, and every transaction of a server begins with a
look at it, at a moment when no other writer is let in: who finds another name there writes nothing any more.
Known as fencing (Kleppmann, How to do distributed locking, 2016); no clock has a part in it.
"""

from __future__ import annotations

import logging
import os
import secrets
import socket
import time
from typing import Any, Protocol

from sqlalchemy import Connection

from orchestrator.store.memory import Memory
from workers.errors import InputError, LockstepError, UnreachableError

_log = logging.getLogger(__name__)

#: The lock of a server that was killed a moment ago may still be there.
TAKE_SECONDS_MAX = 3.0
#: Between looks whether the lock is there still.
LOOK_SECONDS = 5.0
_HOLDER = "server at work"


class Lock(Protocol):
    """One that only one process in the world can have."""

    def take(self) -> bool:
        """Have it, if nobody else does; who has it already keeps it."""

    def release(self) -> None:
        """Let others have it."""


class Deposed(UnreachableError):
    """Another server has begun to work on the database: this one has nothing to say any more."""


class Lease:
    """What lets a server work on its database.

    Args:
        name: the database's.
    """

    def __init__(self, lock: Lock, name: str) -> None:
        self._lock, self._name = lock, name
        self._id = secrets.token_hex(8)
        self._looked = 0.0

    def take(self, memory: Memory) -> None:
        """Get the lock.

        Args:
            memory: tells who has it.

        Raises:
            InputError: another server has it.
        """
        until = time.monotonic() + TAKE_SECONDS_MAX
        while not self._lock.take():
            if time.monotonic() > until:
                fix = "stop it first, or give this one a database of its own"
                what = f"another server is at work on this database{_whose(memory)}"
                raise InputError(what, where=self._name, fix=fix)
            time.sleep(0.1)
        self._looked = time.monotonic()

    def sign(self, memory: Memory) -> None:
        """Say who works now; whoever did before writes nothing from now on."""
        memory.save(_HOLDER, {"id": self._id, "host": socket.gethostname(), "pid": os.getpid()})

    def check(self, connection: Connection) -> None:
        """A transaction has begun, and others are kept out of writing.

        Raises:
            Deposed: another server works now.
        """
        memory = Memory(connection)
        if (memory.load(_HOLDER) or {}).get("id") != self._id:
            fix = "ask that one: this one ends"
            raise Deposed(
                f"another server works on this database now{_whose(memory)}", where=self._name, fix=fix
            )
        if time.monotonic() - self._looked > LOOK_SECONDS:
            self._looked = time.monotonic()
            self._keep()

    def release(self) -> None:
        """Let another one work."""
        self._lock.release()

    def _keep(self) -> None:
        """The lock went if the database was started again. Without it others are let in, and depose us."""
        try:
            if not self._lock.take():
                _log.warning("the lock on the database is somebody else's; it is tried again")
        except LockstepError as error:
            _log.warning("the lock on the database is lost, and tried again: %s", error)


def _whose(memory: Memory) -> str:
    holder: dict[str, Any] | None = memory.load(_HOLDER)
    return "" if holder is None else f": process {holder['pid']} on {holder['host']}"
