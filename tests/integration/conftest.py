"""Fixtures for tests of `lockstep run` on real Ray."""

from __future__ import annotations

import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.support.bits_jobs import BitsJob, bits_job
from tests.support.elastic_jobs import elastic
from tests.support.lockstep import Lockstep, Result, until
from tests.support.ray_cluster import RayCluster, ray_cluster

CPUS, GPUS = 16, 4  # what the cluster thinks it has; workers take turns on what there is
LONG_STEPS = 200  # some seconds
LONG_EVERY = 35  # no multiple of an epoch's 6 steps before the end: every checkpoint is in mid-epoch


@pytest.fixture(scope="session")
def cluster() -> Iterator[RayCluster]:
    """One Ray cluster for all tests."""
    with ray_cluster(cpus=CPUS, gpus=GPUS) as running:
        yield running


@pytest.fixture(scope="session")
def lockstep(cluster: RayCluster, tmp_path_factory: pytest.TempPathFactory) -> Lockstep:
    """The command line, running jobs on the shared cluster."""
    return Lockstep(
        folder=tmp_path_factory.mktemp("lockstep"),
        environment=cluster.environment,
        cluster=("--cluster", cluster.address),
    )


@pytest.fixture(scope="session")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Lockstep:
    """The command line, starting a Ray of its own for each job."""
    return Lockstep(folder=tmp_path_factory.mktemp("alone"))


@pytest.fixture(scope="session")
def bits(tmp_path_factory: pytest.TempPathFactory) -> BitsJob:
    """The bits job with its data; tests that run it do so in a copy."""
    return bits_job(tmp_path_factory.mktemp("bits") / "job")


@pytest.fixture
def job(bits: BitsJob, tmp_path) -> BitsJob:
    """A copy of the bits job."""
    return bits.copy(tmp_path / "job")


@pytest.fixture
def long_job(job: BitsJob) -> BitsJob:
    """One that runs for some seconds."""
    job.change(stop={"steps": LONG_STEPS}, checkpoint={"uri": "runs", "every": LONG_EVERY, "if_busy": "wait"})
    return job


@dataclass(frozen=True, kw_only=True)
class Done:
    """A job that was run to its end, and what `/metrics` said in the middle of it, if somebody asked."""

    job: BitsJob
    result: Result
    scraped: str = ""


@pytest.fixture(scope="session")
def trained(bits: BitsJob, lockstep: Lockstep, tmp_path_factory: pytest.TempPathFactory) -> Done:
    """The short job after 18 steps, with checkpoints of steps 10, 15 and 18."""
    job = bits.copy(tmp_path_factory.mktemp("trained") / "job")
    result = lockstep.run(job.file, "--workers", 1)
    assert result.code == 0, result.err
    return Done(job=job, result=result)


@pytest.fixture(scope="session")
def undisturbed(bits: BitsJob, lockstep: Lockstep, tmp_path_factory: pytest.TempPathFactory) -> Done:
    """The long job, run by one worker and scraped on the way."""
    job = bits.copy(tmp_path_factory.mktemp("undisturbed") / "job")
    job.change(stop={"steps": LONG_STEPS}, checkpoint={"uri": "runs", "every": LONG_EVERY, "if_busy": "wait"})
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"

    def scrape() -> str | None:
        try:
            with urllib.request.urlopen(f"http://{address}/metrics") as response:
                text = response.read().decode()
        except urllib.error.URLError:
            return None
        return text if 'lockstep_checkpoint_last_step{job="bits"}' in text else None

    with lockstep.running(job.file, "--workers", 1, "--metrics", address) as running:
        scraped = until(scrape, "a scrape after a checkpoint", running)
        result = running.result()
    assert result.code == 0, result.err
    return Done(job=job, result=result, scraped=scraped)


@pytest.fixture(scope="session")
def calm(bits: BitsJob, lockstep: Lockstep, tmp_path_factory: pytest.TempPathFactory) -> Result:
    """The long job of `tests.support.elastic_jobs`, run by one worker, with nothing happening to it."""
    job = elastic(bits.copy(tmp_path_factory.mktemp("calm") / "job"), pause=0.0)
    result = lockstep.run(job.file, "--workers", 1)
    assert result.code == 0, result.err
    return result
