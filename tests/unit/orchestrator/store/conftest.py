"""Every test with a `database` runs on SQLite and on a real PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from orchestrator.store.database import Database

BACKENDS = ["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)]


@pytest.fixture(params=BACKENDS)
def url(request: pytest.FixtureRequest) -> str:
    """Of a database that nobody has opened yet."""
    if request.param == "sqlite":
        return f"sqlite:///{request.getfixturevalue('tmp_path')}/lockstep.db"
    return str(request.getfixturevalue("postgresql").make_database())


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    """One with nothing in it."""
    with Database(url) as opened:
        yield opened
