"""Where the jobs of this user on this machine can be reached: a small file for each embedded cluster.

`lockstep run` starts a Ray of its own with a token that nobody else knows. Other commands of the same user
find both here. The folder belongs to the user alone.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path


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


@contextmanager
def announced(session: Session) -> Iterator[None]:
    """Let other commands find a session as long as the block runs."""
    path = _folder() / f"{session.job}.json"
    temporary = path.with_suffix(f".{session.pid}")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w") as file:
        json.dump(asdict(session), file)
    temporary.replace(path)
    try:
        yield
    finally:
        found = find_session(session.job)
        if found is not None and found.pid == session.pid:
            path.unlink(missing_ok=True)


def find_session(job: str) -> Session | None:
    """The session that runs a job, if its process is alive."""
    with suppress(OSError, ValueError, TypeError):
        session = Session(**json.loads((_folder() / f"{job}.json").read_text()))
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
