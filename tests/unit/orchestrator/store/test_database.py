"""Opening a database, all that can be wrong with it, and that it may be gone for a while."""

from __future__ import annotations

import sqlite3
import stat

import pytest

from orchestrator.store.database import Database
from tests.support.store_jobs import submitted
from workers.errors import AccessError, InputError, UnreachableError


def test_what_was_written_is_there_when_it_is_opened_again(url):
    with Database(url) as database:
        job = submitted(database)
    with Database(url) as database, database.reading() as tx:
        assert tx.jobs.live() == [job]


def test_two_servers_see_what_either_writes(url):
    with Database(url) as here, Database(url) as there:
        first, second = submitted(here, "a"), submitted(there, "b")
        for database in (here, there):
            with database.reading() as tx:
                assert tx.jobs.live() == [first, second]


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("lockstep.db", "this is no URL of a database"),
        ("mysql://host/name", "only SQLite and PostgreSQL are supported"),
        ("sqlite://", "a server's database is a file"),
        ("sqlite:///:memory:", "a server's database is a file"),
    ],
)
def test_a_url_that_leads_nowhere_is_refused_with_what_would_be_right(url, says):
    with pytest.raises(InputError, match=says) as told:
        Database(url)
    assert "sqlite:////path" in str(told.value)


def test_passwords_are_not_told():
    with pytest.raises(UnreachableError) as told:
        Database("postgresql://ann:geheim@127.0.0.1:1/name")
    assert "geheim" not in str(told.value)
    assert "postgresql://ann:***@127.0.0.1:1/name" in str(told.value)


class TestSqlite:
    @pytest.fixture
    def path(self, tmp_path):
        return tmp_path / "folder with a % and # in it" / "lockstep.db"

    @pytest.fixture
    def database(self, path):
        with Database(f"sqlite:///{path}") as opened:
            yield opened

    def test_its_file_is_for_this_user_alone(self, database, path):
        submitted(database)
        files = [file for file in path.parent.iterdir() if file.name.startswith(path.name)]
        assert path in files
        assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}

    def test_every_commit_waits_for_the_disk(self, database):
        with database._writer.block() as connection:
            pragmas = [
                connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
                for name in ("journal_mode", "synchronous", "foreign_keys")
            ]
        assert pragmas == ["wal", 2, 1]

    def test_a_file_that_is_away_for_a_while_delays_and_loses_nothing(self, database, path):
        first = submitted(database, "first")
        away = path.with_name("away")
        path.rename(away)
        for use in (database.transaction, database.reading):
            with pytest.raises(UnreachableError, match="the database's file is gone"), use():
                pass
        assert not path.exists()
        away.rename(path)
        second = submitted(database, "second")
        with database.reading() as tx:
            assert tx.jobs.live() == [first, second]

    def test_another_file_in_its_place_is_not_written_to(self, database, path):
        submitted(database)
        path.unlink()
        path.write_bytes(b"")
        with pytest.raises(UnreachableError, match="another file is where the database was"):
            submitted(database, "second")
        assert path.read_bytes() == b""

    def test_somebody_who_holds_it_too_long_is_told_of(self, database, path, monkeypatch):
        with database._writer.block() as connection:
            connection.exec_driver_sql("PRAGMA busy_timeout = 50")
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(UnreachableError, match="SQLITE_BUSY"):
            submitted(database)
        other.execute("ROLLBACK")
        other.close()
        submitted(database)

    def test_what_is_no_database_is_said_to_be_none(self, tmp_path):
        (tmp_path / "letter").write_text("Dear database, " * 1000)
        with pytest.raises(InputError, match="no intact SQLite database"):
            Database(f"sqlite:///{tmp_path}/letter")

    def test_a_place_that_cannot_be_written_is_named(self, tmp_path):
        (tmp_path / "file").write_text("")
        with pytest.raises(AccessError, match=f"{tmp_path}/file/lockstep.db: the database's file cannot be"):
            Database(f"sqlite:///{tmp_path}/file/lockstep.db")


@pytest.mark.postgresql
class TestPostgresql:
    def test_who_is_not_let_in_is_told_why(self, postgresql):
        with pytest.raises(AccessError, match="authentication failed"):
            Database(postgresql.url(password="wrong"))
        with pytest.raises(AccessError, match='"nowhere" does not exist'):
            Database(postgresql.url("nowhere"))
