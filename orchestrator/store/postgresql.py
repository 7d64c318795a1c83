"""PostgreSQL, through psycopg 3."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, text
from sqlalchemy.exc import DBAPIError

from orchestrator.store.backend import BUSY_SECONDS_MAX, READERS_KEPT, READERS_MAX, Backend
from orchestrator.store.tables import dump_json
from workers.errors import AccessError, InputError, LockstepError, UnreachableError

#: So that a server that vanished is noticed: libpq's settings, which the URL may set otherwise.
_CONNECTION = {
    "connect_timeout": 5,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
    "application_name": "lockstep",
}
#: The advisory lock that whoever writes holds until its transaction ends ("lockstep" in ASCII).
_WRITERS_LOCK = int.from_bytes(b"lockstep", "big")
#: The advisory lock of the server that works ("lock" in ASCII).
_SERVERS_LOCK = int.from_bytes(b"lock", "big")
#: So that the database server lets go of the lock of a machine that is gone.
_NOTICE_THAT_WE_ARE_GONE = (
    "tcp_keepalives_idle = 5",
    "tcp_keepalives_interval = 2",
    "tcp_keepalives_count = 3",
)
#: SQLSTATEs, or how they begin, of a server that cannot serve us now; none at all if it is gone.
_TROUBLE = ("08", "25006", "40", "53", "55P03", "57", "58")
_REFUSALS = (
    "authentication failed",
    "pg_hba.conf",
    "does not exist",
    "no password supplied",
    "permission denied",
)


class AdvisoryLock:
    """A `Lock`: the server lets go of it when the connection ends. Each schema of a database has its own."""

    def __init__(self, backend: Backend, engine: Engine) -> None:
        self._backend, self._engine = backend, engine
        self._held: Connection | None = None

    def take(self) -> bool:
        """See `Lock`."""
        with self._backend.translated():
            if self._held is not None and self._is_there(self._held):
                return True
            connection = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
            try:
                for setting in _NOTICE_THAT_WE_ARE_GONE:
                    connection.exec_driver_sql(f"SET {setting}")
                lock = text("SELECT pg_try_advisory_lock(:lock, hashtext(current_schema()))")
                if connection.execute(lock, {"lock": _SERVERS_LOCK}).scalar_one():
                    self._held = connection
            finally:
                if self._held is not connection:
                    connection.close()
        return self._held is not None

    def release(self) -> None:
        """See `Lock`."""
        self._drop()
        self._engine.dispose()

    def _is_there(self, connection: Connection) -> bool:
        try:
            connection.exec_driver_sql("SELECT 1")
        except DBAPIError:
            self._drop()
            return False
        return True

    def _drop(self) -> None:
        held, self._held = self._held, None
        if held is not None:
            with suppress(DBAPIError):
                held.invalidate()
            held.close()


class Postgresql(Backend):
    """A `Backend`."""

    def __init__(self, url: URL) -> None:
        name = url.render_as_string(hide_password=True)
        readers = _engine(url, name, pool_size=READERS_KEPT, max_overflow=READERS_MAX - READERS_KEPT)
        self._url = url
        super().__init__(
            name,
            writers=_engine(url, name, pool_size=1, max_overflow=0),
            readers=readers.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True),
        )

    def servers_lock(self) -> AdvisoryLock:
        """One that a connection of its own holds."""
        return AdvisoryLock(self, _engine(self._url, self.name, pool_size=1, max_overflow=0))

    def _look(self) -> None:
        """A connection notices."""

    def _keep_others_out(self, connection: Connection) -> None:
        connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{BUSY_SECONDS_MAX}s'")
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _WRITERS_LOCK})

    def _known(self, error: DBAPIError) -> LockstepError | None:
        state: Any = getattr(error.orig, "sqlstate", None)
        words = str(error.orig).strip().replace("\n", "; ")
        if state is None and any(refusal in words for refusal in _REFUSALS):
            return AccessError(
                f"the database does not let us in: {words}",
                where=self.name,
                fix="check user, password and name of the database, and that the user may create tables",
            )
        gone = state is None and _is_operational(error)
        if gone or error.connection_invalidated or (state or "").startswith(_TROUBLE):
            return UnreachableError(
                f"the database does not answer: {words}",
                where=self.name,
                fix="start it, or look after the network; nothing else has to be started again",
            )
        return None


def _engine(url: URL, name: str, **pool: int) -> Engine:
    settings = {setting: value for setting, value in _CONNECTION.items() if setting not in url.query}
    try:
        from orchestrator.store.patience import PatientConnection

        engine = create_engine(
            url.set(drivername="postgresql+psycopg"),
            pool_pre_ping=True,
            pool_timeout=BUSY_SECONDS_MAX,
            connect_args=settings,
            json_serializer=dump_json,
            json_deserializer=json.loads,
            **pool,
        )
    except ModuleNotFoundError as error:
        raise InputError(
            "PostgreSQL needs the package psycopg",
            where=name,
            fix="pip install 'lockstep[postgresql]'",
        ) from error

    @event.listens_for(engine, "do_connect")
    def connect(dialect: Any, record: Any, arguments: Any, settings: Any) -> PatientConnection:
        return PatientConnection.connect(*arguments, **settings)

    return engine


def _is_operational(error: DBAPIError) -> bool:
    import psycopg

    return isinstance(error.orig, psycopg.OperationalError | psycopg.InterfaceError)
