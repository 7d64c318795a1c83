"""A real PostgreSQL for tests: a cluster in a temporary folder, on a Unix socket, gone when the tests are."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import psycopg

HOW_TO_INSTALL = "apt-get install -y --no-install-recommends postgresql"
START_SECONDS_MAX = 60
USER, PASSWORD = "owner", "let me in"
#: PostgreSQL refuses to be root.
NOBODY = ("--reuid=65534", "--regid=65534", "--clear-groups")


@dataclass(kw_only=True)
class PostgresqlServer:
    """A server that can be stopped and started again, with what it keeps."""

    folder: Path
    programs: Path
    process: subprocess.Popen[bytes] | None = field(default=None)

    def url(self, database: str = "postgres", password: str = PASSWORD, options: str = "") -> str:
        """What `Database` takes."""
        user = f"{USER}:{password.replace(' ', '%20')}"
        return f"postgresql://{user}@/{database}?host={self.folder}{options}"

    def make_database(self) -> str:
        """The URL of a new, empty schema: to its users a database, and made in no time."""
        name = f"test_{uuid.uuid4().hex[:12]}"
        self.execute(f"CREATE SCHEMA {name}")
        return self.url(options=f"&options=-csearch_path%3D{name}&application_name={name}")

    def cut(self, url: str) -> None:
        """Cut the connections of whoever uses a URL of `make_database`, if something is going on there."""
        name = url.partition("application_name=")[2].partition("&")[0]
        theirs = f"application_name = '{name}' AND state <> 'idle'"
        self.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {theirs}")

    def cut_locks(self) -> None:
        """Cut the connections that hold advisory locks, as servers at work do."""
        held = "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND pid <> pg_backend_pid()"
        self.execute(f"SELECT pg_terminate_backend(pid) FROM ({held}) AS theirs")

    def execute(self, statement: str) -> None:
        """Run a statement as the server's owner, beside all others."""
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(statement)  # type: ignore[arg-type]

    def start(self) -> None:
        """Until it answers."""
        self.process = _spawn(self.folder, self.programs / "postgres", "-D", self.folder / "data")
        deadline = time.monotonic() + START_SECONDS_MAX
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                psycopg.connect(self.url()).close()
                return
            except psycopg.OperationalError:
                time.sleep(0.02)
        raise RuntimeError(f"PostgreSQL did not start:\n{(self.folder / 'out').read_text()}")

    def freeze(self) -> None:
        """All of it stands still, and keeps its connections, until `thaw`."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """It goes on as if nothing had been."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if self.process is None:
            raise RuntimeError("it does not run")
        main = psutil.Process(self.process.pid)
        main.send_signal(number)  # first: it makes no more children
        for child in main.children(recursive=True):
            with suppress(psutil.NoSuchProcess):  # it served one connection, which has ended
                child.send_signal(number)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """End it: SIGINT cuts all connections and tidies up; SIGQUIT does not tidy up."""
        if self.process is not None:
            self.process.send_signal(how)
            self.process.wait(START_SECONDS_MAX)
            self.process = None


def programs_folder() -> Path | None:
    """Where the newest PostgreSQL's programs are; Debian does not put them on the path."""
    on_path = shutil.which("initdb")
    found = sorted(
        Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]), reverse=True
    )
    folders = [Path(on_path).resolve().parent] if on_path else [path.parent for path in found]
    return next((folder for folder in folders if (folder / "postgres").exists()), None)


@contextmanager
def postgresql_server(programs: Path) -> Iterator[PostgresqlServer]:
    """Start a server; stop it in the end, whatever happens."""
    folder = Path(
        tempfile.mkdtemp(prefix="lockstep-pg-")
    )  # a socket's path is short, and readable for nobody
    try:
        (folder / "password").write_text(PASSWORD)
        if os.getuid() == 0:
            for path in (folder, folder / "password"):
                os.chown(path, 65534, 65534)
        made = _spawn(
            folder, programs / "initdb", "-D", folder / "data", "-U", USER, "--auth=scram-sha-256",
            f"--pwfile={folder / 'password'}", "--encoding=UTF8", "--locale=C", "--no-sync",
        )  # fmt: skip
        if made.wait(START_SECONDS_MAX):
            raise RuntimeError(f"initdb failed:\n{(folder / 'out').read_text()}")
        with (folder / "data" / "postgresql.conf").open("a") as settings:
            settings.write(f"listen_addresses = ''\nunix_socket_directories = '{folder}'\n")
        server = PostgresqlServer(folder=folder, programs=programs)
        try:
            server.start()
            yield server
        finally:
            server.stop(signal.SIGQUIT)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _spawn(folder: Path, program: Path, *arguments: str | Path) -> subprocess.Popen[bytes]:
    """A process that also ends when this one is killed."""
    who = NOBODY if os.getuid() == 0 else ()
    command = ["setpriv", *who, "--pdeathsig", "KILL", program, *arguments]
    with (folder / "out").open("ab") as output:
        return subprocess.Popen(command, cwd=folder, env={"PATH": os.defpath}, stdout=output, stderr=output)
