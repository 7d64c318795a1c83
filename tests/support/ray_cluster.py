"""A Ray cluster for tests: a process of its own on loopback that ends when whoever started it does.

    python -m tests.support.ray_cluster CPUS GPUS FOLDER    prints its address; ends with stdin

GPUs are only counted, there need not be any: enough to see where workers are placed.
"""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
STOP_SECONDS_MAX = 30


@dataclass(frozen=True, kw_only=True)
class RayCluster:
    """A running cluster, and the environment that lets a driver in."""

    address: str
    environment: dict[str, str]


@contextmanager
def ray_cluster(*, cpus: int, gpus: int) -> Iterator[RayCluster]:
    """Start a cluster that thinks it has so many; stop it in the end, whatever happens."""
    folder = tempfile.mkdtemp(prefix="ls-ray-")  # short: Ray puts sockets deep into it
    settings = {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # loopback is meant literally
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.support.ray_cluster", str(cpus), str(gpus), folder],
        cwd=ROOT,
        env={**os.environ, **settings},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,  # Ctrl-C is for the tests
    )
    if process.stdin is None or process.stdout is None:
        raise RuntimeError("the process has no pipes")
    try:
        address = process.stdout.readline().strip()
        if not address:
            raise RuntimeError(f"Ray did not start; its logs are in {folder}")
        yield RayCluster(address=address, environment=settings)
    finally:
        process.stdin.close()
        process.stdout.close()
        try:
            process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def main(cpus: int, gpus: int, folder: str) -> None:
    """Be the cluster's head until stdin ends."""
    import ray

    context = ray.init(
        address="local",
        num_cpus=cpus,
        num_gpus=gpus,
        object_store_memory=100 * 2**20,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
        _node_ip_address="127.0.0.1",
        _temp_dir=folder,
    )
    print(context.address_info["gcs_address"], flush=True)
    sys.stdin.read()
    ray.shutdown()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
