"""`lockstep serve` as a process that a test may kill and start again."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.client import Client
from tests.support.lockstep import LOCKSTEP, PREFIX

_SECONDS_MAX = 90.0


@dataclass(kw_only=True)
class Serving:
    """A server on a cluster.

    Attributes:
        state: its folder.
        cluster: the address of the Ray cluster; "local" for one of its own.
        environment: what lets it in there.
        scheduler: a file with the scheduler's settings.
    """

    state: Path
    cluster: str
    environment: Mapping[str, str]
    scheduler: Path | None = None
    process: subprocess.Popen[bytes] | None = None
    port: int = field(default_factory=lambda: _free_port())

    @property
    def url(self) -> str:
        """Where its API is, through all its lives."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Begin a life; returns when requests are answered."""
        self.state.mkdir(parents=True, exist_ok=True)
        (self.state / "runtime").mkdir(mode=0o700, exist_ok=True)
        command = [*PREFIX, LOCKSTEP, "serve", "--port", str(self.port), "--state", str(self.state)]
        command += ["--cluster", self.cluster]
        if self.scheduler is not None:
            command += ["--scheduler", str(self.scheduler)]
        environment = {**os.environ, **self.environment, "XDG_RUNTIME_DIR": str(self.state / "runtime")}
        with (self.state / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                command, env=environment, stdout=log, stderr=log, start_new_session=True
            )
        until = time.monotonic() + _SECONDS_MAX
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1.0).close()
                return
            except OSError:
                if self.process.poll() is not None or time.monotonic() > until:
                    raise AssertionError(f"the server does not start:\n{self.log()}") from None
                time.sleep(0.1)

    def kill(self) -> None:
        """SIGKILL, in the middle of whatever it does."""
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        """SIGTERM; its exit code."""
        return self._end(signal.SIGTERM)

    def interrupt(self) -> int:
        """Ctrl-C; its exit code."""
        return self._end(signal.SIGINT)

    def log(self) -> str:
        """What it wrote."""
        return (self.state / "server.log").read_text()

    def client(self, token: str | None = None) -> Client:
        """As whoever runs the server, or as somebody else."""
        secret = token or (self.state / "token").read_text().strip()
        return Client(self.url, secret, patience=_SECONDS_MAX)

    def _end(self, number: signal.Signals) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(_SECONDS_MAX)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
        return port
