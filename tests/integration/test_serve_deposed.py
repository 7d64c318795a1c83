"""Two servers, one database: the second is refused; if the first was cut off, it takes over for good."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from orchestrator.exit_codes import UNREACHABLE, WRONG_INPUT
from tests.support.nodes import Nodes, ray_nodes
from tests.support.postgresql import PostgresqlServer
from tests.support.script_jobs import script_folder
from tests.support.serving import Serving

pytestmark = [pytest.mark.ray, pytest.mark.postgresql, pytest.mark.slow]

WAITS = "while not (shared / 'go').exists(): time.sleep(0.1)\n"


@pytest.fixture
def cluster() -> Iterator[Nodes]:
    with ray_nodes(nodes=1, cpus=2) as nodes:
        yield nodes


@pytest.fixture
def servers(cluster: Nodes, postgresql: PostgresqlServer, tmp_path) -> Iterator[tuple[Serving, Serving]]:
    url = postgresql.make_database()
    pair = tuple(
        Serving(
            state=tmp_path / name,
            cluster=cluster.address,
            environment=cluster.environment,
            database=url,
            bundles=(tmp_path / "bundles").as_uri(),
        )
        for name in ("old", "new")
    )
    yield pair[0], pair[1]
    for server in pair:
        if server.process is not None and server.process.poll() is None:
            server.kill()


def test_a_server_that_was_frozen_and_replaced_says_nothing_more_and_ends(
    servers: tuple[Serving, Serving], postgresql: PostgresqlServer, tmp_path
) -> None:
    old, new = servers
    folder = script_folder(tmp_path / "x", workers={"min": 1, "max": 1, "cpus": 1})
    folder.does(WAITS)
    old.start()
    with old.client() as client:
        job = client.submit(folder.file)
        for event in job.events(follow=True):
            if event.get("after") == "running":
                break
    assert new.run() == WRONG_INPUT
    assert "another server is at work on this database" in new.log()
    old.freeze()
    postgresql.cut_locks()
    new.start()
    old.thaw()
    assert old.wait() == UNREACHABLE
    assert "another server works on this database now" in old.log()
    with new.client() as client:
        assert client.job(job.id).status()["state"] == "running"
        (folder.shared / "go").touch()
        status = client.job(job.id).wait(timeout=120)
    assert (status["state"], status["attempt"]) == ("done", 1), status
    assert new.stop() == 0
    assert "Traceback" not in old.log() + new.log()
