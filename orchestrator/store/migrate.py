"""Brings a database's tables up to date, whoever comes first."""

from __future__ import annotations

import threading

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from orchestrator.store.backend import Backend
from workers.errors import InputError

#: Alembic keeps the migration that runs in a global.
_ONE_AT_A_TIME = threading.Lock()


def migrate(backend: Backend) -> None:
    """Apply the migrations that are missing, all of them or none, with other writers kept out.

    Raises:
        InputError: a newer Lockstep has written the database.
        UnreachableError: it does not answer.
    """
    with _ONE_AT_A_TIME, backend.translated(), backend.write() as connection:
        config = _config(connection)
        script = ScriptDirectory.from_config(config)
        newest = script.get_current_head()
        version = MigrationContext.configure(connection).get_current_revision()
        if version is not None and version not in {step.revision for step in script.walk_revisions()}:
            raise InputError(
                f"the database was written by a newer Lockstep: its version is {version}, and this one knows"
                f" them up to {newest}",
                where=backend.name,
                fix="use that Lockstep or a newer one, or a backup of the database from before",
            )
        if version != newest:
            command.upgrade(config, "head")
            connection.commit()


def _config(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", "orchestrator.store:migrations")
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config
