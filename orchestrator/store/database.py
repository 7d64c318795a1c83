"""The database: SQLite in a file of this machine, or PostgreSQL; the same code, the same promises.

    database = Database("sqlite:////var/lib/lockstep/lockstep.db")    # or postgresql://user@host/name
    with database.transaction() as tx:                    # all of the block, or nothing
        job, created = tx.jobs.submit(submission, now)
    with database.reading() as tx:                        # one moment; waits for nobody, holds up nobody
        jobs = tx.jobs.page(limit=20)

When the block of a transaction is left without an error, what it wrote is on disk. There is one writer at a
time, on PostgreSQL as well, so events and changes get their numbers in the order in which others see them:
who follows them by number misses none.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from orchestrator.store.lease import Lease
from orchestrator.store.migrate import migrate
from orchestrator.store.transaction import Transaction
from orchestrator.store.urls import backend
from orchestrator.store.writer import Writer


class Database:
    """Opens a database, and brings its tables up to date; several servers may do so at once.

    Args:
        url: `sqlite:///relative/path`, `sqlite:////absolute/path` or `postgresql://user@host:port/name`;
            passwords may come from libpq's own places (PGPASSWORD, ~/.pgpass).

    Raises:
        InputError: the URL is wrong, or a newer Lockstep has written the database.
        AccessError: we are not let in.
        UnreachableError: it does not answer.
    """

    def __init__(self, url: str) -> None:
        self._backend = backend(url)
        migrate(self._backend)
        self._writer = Writer(self._backend)

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """A block that may change everything. An error in it undoes all that the block did.

        Blocks of several threads follow one another, in the order in which they came, and may share a commit:
        keep them short. One cannot be inside another one.

        Raises:
            UnreachableError: the database is gone, or was until a moment ago. If that is raised by the end of
                the block, nobody knows whether it is done: read what is there, or do it again under the same
                key. The next transaction works as soon as the database does.
        """
        with self._writer.block() as connection:
            yield Transaction(connection, writing=True)

    @contextmanager
    def reading(self) -> Iterator[Transaction]:
        """A block that sees one moment of what is on disk, and changes nothing; it does not wait for writers.

        Raises:
            UnreachableError: the database is gone.
        """
        with self._backend.reading() as connection:
            yield Transaction(connection, writing=False)

    @contextmanager
    def served(self) -> Iterator[None]:
        """A block in which no other process is in such a block of this database: who gives orders about what
        is in it does so here. Others may write all the same.

        Should that come to an end before the block does, transactions raise `Deposed` from then on.

        Raises:
            InputError: another server is at work.
            UnreachableError: the database is gone.
        """
        lease = Lease(self._backend.servers_lock(), self._backend.name)
        try:
            with self.reading() as tx:
                lease.take(tx.memory)
            with self.transaction() as tx:
                lease.sign(tx.memory)
            self._writer.fence = lease.check
            yield
        finally:
            self._writer.fence = None
            lease.release()

    def close(self) -> None:
        """Let go of all connections."""
        self._backend.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
