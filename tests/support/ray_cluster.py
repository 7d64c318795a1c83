"""A Ray cluster for tests: a process of its own on loopback that ends when whoever started it does.

    python -m tests.support.ray_cluster CPUS GPUS FOLDER    prints its address; ends with stdin

GPUs are only counted, there need not be any: enough to see where workers are placed.
"""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
STOP_SECONDS_MAX = 30
SAYS = "RAY "


@dataclass(frozen=True, kw_only=True)
class RayCluster:
    """A running cluster, and the environment that lets a driver in."""

    address: str
    environment: dict[str, str]


@contextmanager
def ray_cluster(*, cpus: int, gpus: int) -> Iterator[RayCluster]:
    """Start a cluster that thinks it has so many; stop it in the end, whatever happens."""
    settings = settings_on_loopback()
    with cluster_process("tests.support.ray_cluster", (cpus, gpus), settings) as (_, address):
        yield RayCluster(address=address, environment=settings)


def settings_on_loopback() -> dict[str, str]:
    """Ray's settings for a cluster that others cannot enter, and for its drivers."""
    return {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # loopback is meant literally
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    }


@contextmanager
def cluster_process(
    module: str, arguments: tuple[object, ...], settings: Mapping[str, str]
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run a module that is a cluster until its stdin ends; gives the process, and the line that it says.

    The module's last argument is a folder for Ray's files. Its line begins with `RAY `; Ray may print more.
    """
    folder = tempfile.mkdtemp(prefix="ls-ray-")  # short: Ray puts sockets deep into it
    process = subprocess.Popen(
        [sys.executable, "-m", module, *map(str, arguments), folder],
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
        line = next((line for line in process.stdout if line.startswith(SAYS)), None)
        if line is None:
            raise RuntimeError(f"Ray did not start; its logs are in {folder}")
        yield process, line.removeprefix(SAYS).strip()
    finally:
        process.stdin.close()
        process.stdout.close()
        try:
            process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
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
    print(SAYS + context.address_info["gcs_address"], flush=True)
    sys.stdin.read()
    ray.shutdown()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
