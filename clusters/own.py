"""A Ray cluster on this machine that outlives whoever started it: jobs go on when their server is killed.

It listens on loopback only. Its address and its token are in a file that belongs to this user alone.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from clusters import ray_cluster
from clusters.connection import quiet, stay_on_loopback
from clusters.types import Cluster

_START_SECONDS = 60.0
_OBJECT_STORE_BYTES = 100 * 2**20
_LOOK_SECONDS = 0.1


@dataclass(frozen=True, kw_only=True)
class Own:
    """A running cluster.

    Attributes:
        address: `host:port`.
        token: what lets a driver in.
        pid: the process that it lives and dies with.
    """

    address: str
    token: str
    pid: int


def connect(file: Path) -> Cluster:
    """Join the cluster that the file tells of; it is started if it is not there.

    Raises:
        ClusterNotFound: it could not be started.
    """
    found = _read(file)
    if found is not None:
        try:
            return _join(found)
        except ray_cluster.ClusterNotFound:
            stop(file)
    return _join(_start(file))


def stop(file: Path) -> None:
    """End the cluster that the file tells of, and all that runs on it."""
    found = _read(file)
    if found is not None:
        os.kill(found.pid, signal.SIGTERM)
        until = time.monotonic() + _START_SECONDS
        while _lives(found.pid) and time.monotonic() < until:
            time.sleep(_LOOK_SECONDS)
    file.unlink(missing_ok=True)


def _join(cluster: Own) -> Cluster:
    os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=cluster.token)
    return ray_cluster.connect(cluster.address)


def _start(file: Path) -> Own:
    token = secrets.token_hex(32)
    os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=token)
    quiet()
    stay_on_loopback()
    said = file.with_suffix(".address")
    said.unlink(missing_ok=True)
    with file.with_suffix(".log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "clusters.own", str(said)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # Ctrl-C is meant for the server
        )
    until = time.monotonic() + _START_SECONDS
    while not said.exists():
        if process.poll() is not None or time.monotonic() > until:
            process.kill()
            raise ray_cluster.ClusterNotFound(f"Ray could not be started here; {log.name} says why")
        time.sleep(_LOOK_SECONDS)
    own = Own(address=said.read_text(), token=token, pid=process.pid)
    said.unlink()
    draft = file.with_suffix(".draft")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as out:
        json.dump(asdict(own), out)
    draft.replace(file)
    return own


def _read(file: Path) -> Own | None:
    try:
        own = Own(**json.loads(file.read_text()))
    except (OSError, ValueError, TypeError):
        return None
    return own if _lives(own.pid) else None


def _lives(pid: int) -> bool:
    """Whether a process is there, and is one of ours that a number was not given to anew."""
    try:
        return b"clusters.own" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def _be(said: Path) -> None:
    """Be the cluster until SIGTERM."""
    import ray

    ray.init(
        address="local",
        object_store_memory=_OBJECT_STORE_BYTES,
        include_dashboard=False,
        log_to_driver=False,
        configure_logging=False,
        _node_ip_address="127.0.0.1",
    )
    ended: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, frame: ended.append(number))
    draft = said.with_suffix(".draft")
    draft.write_text(ray.get_runtime_context().gcs_address)
    draft.replace(said)
    while not ended:
        signal.pause()
    ray.shutdown()


if __name__ == "__main__":
    _be(Path(sys.argv[1]))
