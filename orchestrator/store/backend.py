"""What SQLite and PostgreSQL do differently: connections, how a writer begins, what their errors mean."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from orchestrator.store.lease import Lock
from workers.errors import LockstepError, UnreachableError

#: How long a writer waits for one in another process.
BUSY_SECONDS_MAX = 10.0
READERS_KEPT, READERS_MAX = 4, 32


class Backend(ABC):
    """One database, through two pools of connections.

    Attributes:
        name: its URL without a password, for messages.
    """

    def __init__(self, name: str, writers: Engine, readers: Engine) -> None:
        self.name = name
        self._writers = writers
        self._readers = readers

    def write(self) -> Connection:
        """A connection in a transaction that nobody else can write beside.

        Raises:
            UnreachableError: it is not there, or somebody else has written for longer than we wait.
        """
        with self.translated():
            self._look()
            connection = self._writers.connect()
            try:
                connection.begin()
                self._keep_others_out(connection)
            except BaseException:
                connection.close()
                raise
            return connection

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection in a transaction that sees one moment.

        Raises:
            UnreachableError: it is not there.
        """
        with self.translated():
            self._look()
            with self._readers.connect() as connection, connection.begin():
                yield connection

    @contextmanager
    def translated(self) -> Iterator[None]:
        """A block in which errors of a database that cannot serve us are ours; others pass.

        Raises:
            UnreachableError: it is not there, or has no time or no room for us.
            InputError: it does not let us in, or is no database.
        """
        try:
            yield
        except DBAPIError as error:
            if (known := self._known(error)) is not None:
                raise known from error
            raise
        except PoolTimeout as error:
            raise UnreachableError(
                "the database has more readers than it can serve", where=self.name, fix="try again"
            ) from error

    def close(self) -> None:
        """Let go of all connections."""
        self._readers.dispose()
        self._writers.dispose()  # last: SQLite tidies up when the last connection closes, if it may write

    @abstractmethod
    def servers_lock(self) -> Lock:
        """The lock of whoever works on the database; see `orchestrator.store.lease`. Its methods raise
        UnreachableError if the database is not there."""

    @abstractmethod
    def _look(self) -> None:
        """Raise UnreachableError if a connection would not notice that the database is gone."""

    @abstractmethod
    def _keep_others_out(self, connection: Connection) -> None:
        """The connection has begun a transaction: from now on others who want to write wait for its end."""

    @abstractmethod
    def _known(self, error: DBAPIError) -> LockstepError | None:
        """What an error means to a user; None if it is a bug of ours."""
