"""Where the jobs of this user on this machine can be reached: a small file for each embedded cluster, and one
for the server.

`lockstep run` starts a Ray of its own with a token that nobody else knows, and `lockstep serve` lets this
user in with a token of theirs. Other commands of the same user find them here. The folder belongs to the user
alone.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar


@dataclass(frozen=True, kw_only=True)
class Session:
    """One embedded cluster.

    Attributes:
        job: the job that it runs.
        address: `host:port` of its head.
        token: what lets a driver in.
        pid: the process that it lives and dies with.
    """

    job: str
    address: str
    token: str
    pid: int

    @classmethod
    def here(cls, job: str, address: str) -> Session:
        """That of this process."""
        return cls(job=job, address=address, token=os.environ.get("RAY_AUTH_TOKEN", ""), pid=os.getpid())


@dataclass(frozen=True, kw_only=True)
class ServerSession:
    """A server that this user runs here.

    Attributes:
        url: where its API is.
        token: what lets this user in.
        pid: its process.
        certificate: file that its certificate is checked with; None for the system's.
    """

    url: str
    token: str
    pid: int
    certificate: str | None = None


#: No job is called so.
_SERVER = "+server"


@contextmanager
def announced(session: Session) -> Iterator[None]:
    """Let other commands find a session as long as the block runs."""
    with _written(session.job, session):
        yield


@contextmanager
def announced_server(session: ServerSession) -> Iterator[None]:
    """Let other commands find a server as long as the block runs."""
    with _written(_SERVER, session):
        yield


def find_session(job: str) -> Session | None:
    """The session that runs a job, if its process is alive."""
    return _read(job, Session)


def find_server() -> ServerSession | None:
    """The server that this user runs on this machine, if its process is alive."""
    return _read(_SERVER, ServerSession)


def session_names() -> list[str]:
    """The jobs that have a session, in order; it may be over."""
    return sorted(path.stem for path in _folder().glob("*.json") if path.stem != _SERVER)


@contextmanager
def _written(name: str, session: Session | ServerSession) -> Iterator[None]:
    path = _folder() / f"{name}.json"
    temporary = path.with_suffix(f".{session.pid}")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w") as file:
        json.dump(asdict(session), file)
    temporary.replace(path)
    try:
        yield
    finally:
        found = _read(name, type(session))
        if found is not None and found.pid == session.pid:
            path.unlink(missing_ok=True)


S = TypeVar("S", bound="Session | ServerSession")


def _read(name: str, kind: type[S]) -> S | None:
    with suppress(OSError, ValueError, TypeError):
        session = kind(**json.loads((_folder() / f"{name}.json").read_text()))
        os.kill(session.pid, 0)
        return session
    return None


def _folder() -> Path:
    base = os.environ.get("XDG_RUNTIME_DIR")
    folder = Path(base) / "lockstep" if base else Path(tempfile.gettempdir()) / f"lockstep-{os.getuid()}"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    facts = folder.stat()
    if facts.st_uid != os.getuid() or facts.st_mode & 0o077:
        raise PermissionError(f"{folder} is not this user's alone")
    return folder
