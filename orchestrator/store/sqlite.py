"""SQLite: a file in WAL mode, so that readers and the writer do not wait for one another."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import sqlite3
import time
from contextlib import closing, suppress
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import QueuePool

from orchestrator.store.backend import BUSY_SECONDS_MAX, READERS_KEPT, READERS_MAX, Backend
from orchestrator.store.tables import dump_json
from workers.errors import AccessError, InputError, LockstepError, UnreachableError

#: How SQLite's names for trouble with the file, not with our SQL, begin.
_TROUBLE = tuple(
    f"SQLITE_{name}"
    for name in ("BUSY", "LOCKED", "CANTOPEN", "IOERR", "FULL", "READONLY", "PROTOCOL", "NOMEM", "PERM")
)
_DAMAGE = ("SQLITE_NOTADB", "SQLITE_CORRUPT")


class FileLock:
    """A `Lock`: the kernel lets go of it when the process ends."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: IO[str] | None = None

    def take(self) -> bool:
        """See `Lock`."""
        if self._file is not None:
            return True
        file = self._path.open("w")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            return False
        self._file = file
        return True

    def release(self) -> None:
        """See `Lock`."""
        if self._file is not None:
            self._file.close()
            self._file = None


class Sqlite(Backend):
    """A `Backend`."""

    def __init__(self, url: URL) -> None:
        name = url.render_as_string()
        if not url.database or url.database == ":memory:" or url.query:
            raise InputError(
                "a server's database is a file", where=name, fix="give sqlite:////path/to/file.db"
            )
        self._path = Path(url.database).absolute()
        self._identity = self._create()
        super().__init__(
            name,
            writers=self._engine("BEGIN IMMEDIATE", pool_size=1, max_overflow=0),
            readers=self._engine(
                "BEGIN", "query_only = ON", pool_size=READERS_KEPT, max_overflow=READERS_MAX - READERS_KEPT
            ),
        )
        self._enter_wal_mode()

    def servers_lock(self) -> FileLock:
        """A file beside the database: what locks the database's own is SQLite's affair."""
        return FileLock(Path(f"{self._path}-server"))

    def _create(self) -> tuple[int, int]:
        """An empty file for this user alone, unless it is there; which file it is.

        One that is there is not opened: when it is closed again, POSIX drops all locks on it that SQLite
        holds in this process.
        """
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with suppress(FileExistsError):
                os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
            if not os.access(self._path, os.R_OK | os.W_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
            return _identity(self._path)
        except OSError as error:
            raise AccessError(
                f"the database's file cannot be written: {error.strerror}",
                where=str(self._path),
                fix="choose another place, or change who may write there",
            ) from error

    def _look(self) -> None:
        """SQLite goes on with a file that was removed, and what is written to it is lost: we do not.

        Raises:
            UnreachableError: the file is not where it was.
        """
        try:
            if _identity(self._path) == self._identity:
                return
            what = "another file is where the database was"
        except OSError as error:
            what = f"the database's file is gone: {error.strerror}"
        raise UnreachableError(
            what, where=str(self._path), fix="put it back, or start the server again with the one to use"
        )

    def _keep_others_out(self, connection: Connection) -> None:
        """BEGIN IMMEDIATE has."""

    def _enter_wal_mode(self) -> None:
        """Stays so in the file. SQLite does not wait for others who look at it: we do."""
        deadline = time.monotonic() + BUSY_SECONDS_MAX
        while True:
            try:
                with closing(self._connect()) as raw:
                    raw.execute("PRAGMA journal_mode = WAL")
                return
            except sqlite3.Error as error:
                if time.monotonic() > deadline or not _code(error).startswith("SQLITE_BUSY"):
                    raise self._meaning(error) or error from error
            time.sleep(0.01)

    def _connect(self) -> sqlite3.Connection:
        raw = sqlite3.connect(
            f"file:{quote(str(self._path))}?mode=rw",  # never makes a new, empty one
            uri=True,
            timeout=BUSY_SECONDS_MAX,
            isolation_level=None,
            check_same_thread=False,
        )
        raw.execute("PRAGMA synchronous = FULL")
        raw.execute("PRAGMA foreign_keys = ON")
        return raw

    def _engine(self, begin: str, *pragmas: str, **pool: int) -> Engine:
        engine = create_engine(
            "sqlite://",
            creator=self._connect,
            poolclass=QueuePool,
            pool_pre_ping=True,
            pool_timeout=BUSY_SECONDS_MAX,
            json_serializer=dump_json,
            json_deserializer=json.loads,
            **pool,
        )

        @event.listens_for(engine, "connect")
        def configure(raw: sqlite3.Connection, record: Any) -> None:
            for pragma in pragmas:
                raw.execute(f"PRAGMA {pragma}")

        @event.listens_for(engine, "begin")
        def really_begin(connection: Connection) -> None:
            connection.exec_driver_sql(begin)

        return engine

    def _known(self, error: DBAPIError) -> LockstepError | None:
        return self._meaning(error.orig)

    def _meaning(self, error: BaseException | None) -> LockstepError | None:
        code = _code(error)
        if code.startswith(_TROUBLE):
            return UnreachableError(
                f"the database cannot be used now: {error} ({code})",
                where=str(self._path),
                fix="look after its disk and who else uses the file; nothing has to be started again",
            )
        if code.startswith(_DAMAGE):
            return InputError(
                f"this is no intact SQLite database: {error}",
                where=str(self._path),
                fix="give another file, or restore it from a backup",
            )
        return None


def _identity(path: Path) -> tuple[int, int]:
    facts = path.stat()
    return facts.st_dev, facts.st_ino


def _code(error: BaseException | None) -> str:
    return getattr(error, "sqlite_errorname", "")
