"""Which database a URL leads to. What a kind of database needs is imported when it is asked for."""

from __future__ import annotations

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from orchestrator.store.backend import Backend
from workers.errors import InputError


def backend(url: str) -> Backend:
    """The one that a URL leads to.

    Raises:
        InputError: it leads nowhere.
    """
    fix = "give sqlite:////path/to/file.db or postgresql://user@host/name"
    try:
        parsed: URL = make_url(url)
    except (ArgumentError, ValueError) as error:
        raise InputError("this is no URL of a database", where=repr(url), fix=fix) from error
    match parsed.get_backend_name():
        case "sqlite":
            from orchestrator.store.sqlite import Sqlite

            return Sqlite(parsed)
        case "postgresql" | "postgres":
            from orchestrator.store.postgresql import Postgresql

            return Postgresql(parsed)
    shown = parsed.render_as_string(hide_password=True)
    raise InputError("only SQLite and PostgreSQL are supported", where=shown, fix=fix)
