"""A Ray cluster of two hosts that are network namespaces of this machine, with a cable that can be cut.

Host A has the head and the driver, host B is a node beyond the cable. A cut drops all packets in silence.
"""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

ADDRESSES = ("10.203.77.1", "10.203.77.2")
PORT = 6399
_START_SECONDS_MAX = 60


@dataclass(frozen=True, kw_only=True)
class Hosts:
    """Two running hosts."""

    names: tuple[str, str]
    environment: dict[str, str]

    @property
    def address(self) -> str:
        """The cluster's."""
        return f"{ADDRESSES[0]}:{PORT}"

    def cut(self) -> None:
        """From now on nothing arrives on the other side, and nobody is told: it is sent to a wrong MAC."""
        for host, other in zip(self.names, reversed(ADDRESSES), strict=True):
            wrong = ("lladdr", "02:00:00:00:00:01", "dev", "cable", "nud", "permanent")
            _run("ip", "-n", host, "neigh", "replace", other, *wrong)


def why_not() -> str | None:
    """Why there can be no such hosts here; None if there can."""
    if os.getuid() != 0:
        return "network namespaces need root"
    if shutil.which("ip") is None:
        return "needs `ip` (Debian package iproute2)"
    probe = ["unshare", "--net", "ip", "link", "add", "cable", "type", "veth", "peer", "name", "other"]
    done = subprocess.run(probe, capture_output=True, text=True)
    return f"cannot make network namespaces here: {done.stderr.strip()}" if done.returncode else None


@contextmanager
def two_hosts(cpus: int) -> Iterator[Hosts]:
    """Start the hosts and Ray on them; remove all of it in the end."""
    mark = f"{os.getpid()}"
    names = (f"ls-a-{mark}", f"ls-b-{mark}")
    environment = {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    folder = Path(tempfile.mkdtemp(prefix="ls-net-"))
    started: list[subprocess.Popen[bytes]] = []
    try:
        _connect(names)
        own = str(folder / "ray")
        Path(own).mkdir()
        head = [
            "--head",
            "--port",
            str(PORT),
            "--include-dashboard",
            "false",
            "--temp-dir",
            own,
        ]
        for host, address, options in zip(
            names, ADDRESSES, (head, ["--address", f"{ADDRESSES[0]}:{PORT}"]), strict=True
        ):
            ray = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--num-cpus", str(cpus)]
            if options is not head:  # by files in the session's folder Ray would take one host for the other
                ray = ["sh", "-c", 'mount -t tmpfs tmpfs "$0" && exec "$@"', own, *ray]
            ray += ["--node-ip-address", address, "--object-store-memory", str(80 * 2**20), *options]
            log = (folder / host).open("wb")
            started.append(
                subprocess.Popen(
                    ["ip", "netns", "exec", host, *ray],
                    env={**os.environ, **environment},
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            )
            _wait_until_started(folder / host)
        yield Hosts(names=names, environment=environment)
    finally:
        for host in names:
            found = subprocess.run(["ip", "netns", "pids", host], capture_output=True, text=True)
            for pid in found.stdout.split():
                with suppress(ProcessLookupError):
                    os.kill(int(pid), 9)
            subprocess.run(["ip", "netns", "del", host], capture_output=True)
        for process in started:
            process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _connect(names: tuple[str, str]) -> None:
    for host in names:
        _run("ip", "netns", "add", host)
    _run(
        "ip",
        "link",
        "add",
        "cable",
        "netns",
        names[0],
        "type",
        "veth",
        "peer",
        "name",
        "cable",
        "netns",
        names[1],
    )
    for host, address in zip(names, ADDRESSES, strict=True):
        _run("ip", "-n", host, "addr", "add", f"{address}/24", "dev", "cable")
        for device in ("lo", "cable"):
            _run("ip", "-n", host, "link", "set", device, "up")


def _wait_until_started(log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS_MAX
    while "Ray runtime started" not in log.read_text(errors="replace"):
        if time.monotonic() > deadline:
            raise RuntimeError(f"Ray did not start:\n{log.read_text(errors='replace')}")
        time.sleep(0.1)


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)
