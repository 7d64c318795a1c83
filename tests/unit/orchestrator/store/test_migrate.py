"""The migrations make the tables that the code expects, whoever starts first; newer ones are refused."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import text

from orchestrator.store.database import Database
from orchestrator.store.tables import metadata
from tests.support.store_jobs import submitted
from workers.errors import InputError

SERVERS = 4


def test_the_migrations_make_the_tables_of_the_code(database):
    with database._writer.block() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []


def test_constraints_and_conditions_are_those_of_the_code_too(url):
    """Alembic does not compare all of them: whether a table made either way says the same does."""
    with Database(url) as database, database._writer.block() as connection:
        migrated = described(connection)
        for table in reversed(metadata.sorted_tables):
            table.drop(connection)
        metadata.create_all(connection)
        assert described(connection) == migrated


SQLITE = ["SELECT sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'alembic%'"]
POSTGRESQL = [
    "SELECT conrelid::regclass || ' ' || conname || ' ' || pg_get_constraintdef(oid) FROM pg_constraint"
    " WHERE connamespace = current_schema()::regnamespace",
    "SELECT indexdef FROM pg_indexes WHERE schemaname = current_schema()",
    "SELECT concat_ws(' ', table_name, column_name, data_type, is_nullable, identity_generation)"
    " FROM information_schema.columns WHERE table_schema = current_schema()",
]


def described(connection) -> list[list[str]]:
    """All tables, as the database itself describes them; in which order they say it does not matter."""
    queries = SQLITE if connection.dialect.name == "sqlite" else POSTGRESQL
    rows = [row for query in queries for row in connection.execute(text(query)).scalars()]
    parts = [re.split(r", | \)$", " ".join(row.split())) for row in rows if "alembic" not in row]
    return sorted(sorted(part) for part in parts)


def test_a_database_of_a_newer_version_is_refused_and_left_alone(url):
    with Database(url) as database:
        job = submitted(database)
        with database._writer.block() as connection:
            connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(InputError, match="written by a newer Lockstep: its version is 9999") as told:
        Database(url)
    assert told.value.fix
    assert told.value.exit_code == 2
    with database._writer.block() as connection:
        assert connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar_one() == "9999"
        assert connection.exec_driver_sql("SELECT id FROM jobs").scalars().all() == [job.id]


def test_servers_that_start_at_once_on_a_new_database_all_work(url):
    code = (
        "import sys\n"
        "from orchestrator.store.database import Database\n"
        "from tests.support.store_jobs import submitted\n"
        "sys.stdin.readline()\n"
        "with Database(sys.argv[1]) as database:\n"
        "    submitted(database, sys.argv[2])\n"
    )
    servers = [
        subprocess.Popen(
            [sys.executable, "-c", code, url, f"job-{i}"], stdin=subprocess.PIPE, stderr=subprocess.PIPE
        )
        for i in range(SERVERS)
    ]
    for server in servers:
        server.stdin.write(b"go\n")
        server.stdin.flush()
    for server in servers:
        _, complaint = server.communicate(timeout=120)
        assert server.returncode == 0, complaint.decode()
    with Database(url) as database, database.reading() as tx:
        assert {job.submission.name for job in tx.jobs.live()} == {f"job-{i}" for i in range(SERVERS)}
        assert [queue.id for queue in tx.queues.all()] == ["default"]
