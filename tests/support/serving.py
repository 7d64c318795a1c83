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
        database: the URL of one elsewhere.
        bundles: where jobs' folders are kept, if elsewhere.
    """

    state: Path
    cluster: str
    environment: Mapping[str, str]
    scheduler: Path | None = None
    database: str | None = None
    bundles: str | None = None
    process: subprocess.Popen[bytes] | None = None
    port: int = field(default_factory=lambda: _free_port())

    @property
    def url(self) -> str:
        """Where its API is, through all its lives."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Begin a life; returns when requests are answered."""
        self._spawn()
        until = time.monotonic() + _SECONDS_MAX
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1.0).close()
                return
            except OSError:
                if self.process.poll() is not None or time.monotonic() > until:
                    raise AssertionError(f"the server does not start:\n{self.log()}") from None
                time.sleep(0.1)

    def run(self) -> int:
        """A life that ends by itself; its exit code."""
        self._spawn()
        return self.wait()

    def kill(self) -> None:
        """SIGKILL, in the middle of whatever it does."""
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        """SIGTERM; its exit code."""
        return self._end(signal.SIGTERM)

    def interrupt(self) -> int:
        """Ctrl-C; its exit code."""
        return self._end(signal.SIGINT)

    def freeze(self) -> None:
        """It stands still, and knows nothing of it, until `thaw`."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """It goes on as if nothing had been."""
        self._signal(signal.SIGCONT)

    def wait(self) -> int:
        """Until it ends by itself; its exit code."""
        assert self.process is not None
        return self.process.wait(_SECONDS_MAX)

    def log(self) -> str:
        """What it wrote."""
        return (self.state / "server.log").read_text()

    def client(self, token: str | None = None) -> Client:
        """As whoever runs the server, or as somebody else."""
        secret = token or (self.state / "token").read_text().strip()
        return Client(self.url, secret, patience=_SECONDS_MAX)

    def _spawn(self) -> None:
        self.state.mkdir(parents=True, exist_ok=True)
        (self.state / "runtime").mkdir(mode=0o700, exist_ok=True)
        command = [*PREFIX, LOCKSTEP, "serve", "--port", str(self.port), "--state", str(self.state)]
        command += ["--cluster", self.cluster]
        if self.scheduler is not None:
            command += ["--scheduler", str(self.scheduler)]
        if self.database is not None:
            command += ["--database", self.database]
        if self.bundles is not None:
            command += ["--bundles", self.bundles]
        environment = {**os.environ, **self.environment, "XDG_RUNTIME_DIR": str(self.state / "runtime")}
        with (self.state / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                command, env=environment, stdout=log, stderr=log, start_new_session=True
            )

    def _end(self, number: signal.Signals) -> int:
        self._signal(number)
        return self.wait()

    def _signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
        return port
