"""Fixtures for all tests."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import postgresql as pg
from tests.support.s3 import HOW_TO_INSTALL, S3Server, missing_programs, s3_server

INTEGRATION = Path(__file__).with_name("integration")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """For `pytest -n 2 --dist loadgroup`: a file stays together, so that what its tests share is made once.

    Integration tests are one group, which comes last. They keep all CPUs busy by themselves, start processes
    that share a cluster, and some kill them, or measure time: beside each other they would be others.
    """
    items.sort(key=lambda item: INTEGRATION in item.path.parents)
    for item in items if config.pluginmanager.hasplugin("xdist") else ():
        together = INTEGRATION if INTEGRATION in item.path.parents else item.path
        item.add_marker(pytest.mark.xdist_group(str(together)))


@pytest.fixture(scope="session", autouse=True)
def cache_of_our_own(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Tests neither use nor fill the cache of whoever runs them, nor leave logs with their other ones."""
    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("cache"))
    os.environ.pop("LOCKSTEP_CACHE", None)
    os.environ["XDG_STATE_HOME"] = str(tmp_path_factory.mktemp("state"))


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A real S3 server, started once, at the first test that asks for it."""
    if missing := missing_programs():
        pytest.skip(f"needs a real S3 server, but {', '.join(missing)} are missing: {HOW_TO_INSTALL}")
    with s3_server(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture(scope="session")
def postgresql() -> Iterator[pg.PostgresqlServer]:
    """A real PostgreSQL, started once, at the first test that asks; whoever stops it starts it again."""
    programs = pg.programs_folder()
    if programs is None:
        pytest.skip(f"needs PostgreSQL, but there is no initdb: {pg.HOW_TO_INSTALL}")
    with pg.postgresql_server(programs) as server:
        yield server


@pytest.fixture
def bucket(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URI of a new, empty bucket; this process's AWS settings lead to its server."""
    for name, value in s3.environment().items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    return f"s3://{s3.make_bucket()}"
