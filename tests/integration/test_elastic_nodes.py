"""A cluster of several nodes: one dies, one is drained; the workers there are replaced elsewhere."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.bits_jobs import BitsJob
from tests.support.elastic_jobs import assert_same, elastic, running_elastic, step, told
from tests.support.lockstep import Lockstep, Result
from tests.support.nodes import Nodes, ray_nodes

pytestmark = [pytest.mark.ray, pytest.mark.slow]


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    """Three nodes with room for two workers each."""
    with ray_nodes(nodes=3, cpus=2) as running:
        yield running


@pytest.fixture
def spread(nodes: Nodes, tmp_path) -> Lockstep:
    return Lockstep(folder=tmp_path, environment=nodes.environment, cluster=("--cluster", nodes.address))


def node_of(entry: dict, nodes: Nodes) -> str:
    """The node that a worker says it is ready on."""
    return next(id for id in nodes.ids if id[:12] in entry["reason"])


def test_a_drained_node_is_empty_before_its_deadline(
    spread: Lockstep, nodes: Nodes, job: BitsJob, calm: Result
) -> None:
    with running_elastic(spread, elastic(job), 3) as running:
        log = running.wait_for(step(30), "step 30")
        ready = {e["worker"]: node_of(e, nodes) for e in log if e["kind"] == "ready"}
        leaving = ready["worker-0"]
        assert running.command("drain", "bits", leaving, "--within", 20, *spread.cluster).returncode == 0
        running.wait_for(told("dismissed"), "workers to be let go")
        result = running.result()
    assert_same(result, calm)
    there = {worker for worker, node in ready.items() if node == leaving}
    assert {e["worker"] for e in result.events("dismissed")} == there
    assert result.events("worker_lost") == []
    later = [e for e in result.events("ready") if e["worker"] not in ready]
    assert len(later) == len(there)
    assert leaving not in {node_of(e, nodes) for e in later}


def test_a_node_that_dies_takes_nothing_with_it(
    spread: Lockstep, nodes: Nodes, job: BitsJob, calm: Result
) -> None:
    with running_elastic(spread, elastic(job), 3) as running:
        log = running.wait_for(step(30), "step 30")
        ready = {e["worker"]: node_of(e, nodes) for e in log if e["kind"] == "ready"}
        dying = ready["worker-2"]
        nodes.kill(dying)
        running.wait_for(told("formed", cause="healed"), "a replacement")
        result = running.result()
    assert_same(result, calm)
    there = {worker for worker, node in ready.items() if node == dying}
    assert {e["worker"] for e in result.events("worker_lost")} == there
    later = [e for e in result.events("ready") if e["worker"] not in ready]
    assert dying not in {node_of(e, nodes) for e in later}
