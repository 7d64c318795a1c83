"""Runs the application: where it listens, who may come in first, and how it stops."""

from __future__ import annotations

import gc
import os
import signal
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import uvicorn
from fastapi import FastAPI

from orchestrator.store.database import Database
from orchestrator.store.records import Role
from workers.errors import InputError

_TOKEN_FILE = "token"
_KEEP_ALIVE_SECONDS = 75
_STOP_SECONDS = 3  # followers are cut off after that; they come back to the next server


@dataclass(frozen=True, kw_only=True)
class Listening:
    """Where, and how.

    Attributes:
        port: 0 for any that is free.
        tls_cert, tls_key: files in PEM; both or none.
        behind_tls_proxy: requests come through a proxy of this machine, which says where from.
    """

    host: str = "127.0.0.1"
    port: int = 0
    tls_cert: Path | None = None
    tls_key: Path | None = None
    behind_tls_proxy: bool = False

    @property
    def tls(self) -> bool:
        """Whether it speaks TLS itself."""
        return self.tls_cert is not None and self.tls_key is not None


def own_token(database: Database, folder: Path, user: str, now: float) -> str:
    """An admin's secret for whoever runs the server, kept in a file that only they can read.

    It is the same as long as nobody revokes it, so that commands go on through a restart.

    Raises:
        InputError: the file is open to others.
    """
    path = folder / _TOKEN_FILE
    if path.exists():
        facts = path.stat()
        if facts.st_uid != os.getuid() or facts.st_mode & 0o077:
            raise InputError(
                "others can read this token", where=str(path), fix="remove it, and revoke the token"
            )
        secret = path.read_text().strip()
        with database.reading() as tx:
            if tx.tokens.find(secret, now)[0] is not None:
                return secret
    with database.transaction() as tx:
        token, secret = tx.tokens.create(user=user, role=Role.ADMIN, now=now)
        tx.audit.add(
            now=now, who=user, action="token", target=token.id, address="", allowed=True, detail="own token"
        )
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(secret)
    return secret


def listen(where: Listening) -> socket.socket:
    """A socket at an address: it is this process's before anything is started.

    Raises:
        InputError: it is somebody else's, or no address of this machine.
    """
    family = socket.AF_INET6 if ":" in where.host else socket.AF_INET
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((where.host.strip("[]"), where.port))
    except OSError as error:
        listener.close()
        fix = "choose another one with --host and --port"
        raise InputError(
            f"cannot be listened at: {error.strerror}", where=f"{where.host}:{where.port}", fix=fix
        ) from error
    return listener


def url_of(where: Listening, listener: socket.socket) -> str:
    """Where the API is, seen from this machine."""
    host = "127.0.0.1" if where.host in ("0.0.0.0", "::", "") else where.host
    name = f"[{host}]" if ":" in host else host
    return f"{'https' if where.tls else 'http'}://{name}:{listener.getsockname()[1]}"


def make_server(app: FastAPI, where: Listening, ready: Callable[[], None]) -> uvicorn.Server:
    """What serves: `run(sockets=[listener])` until SIGTERM or SIGINT, or until its `should_exit` is set.

    Args:
        ready: called once requests are answered.
    """
    config = uvicorn.Config(
        app,
        ssl_certfile=where.tls_cert,
        ssl_keyfile=where.tls_key,
        proxy_headers=where.behind_tls_proxy,  # else anybody could say where they come from
        server_header=False,
        access_log=False,
        log_level="warning",
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=_STOP_SECONDS,
        ws="none",
    )
    return _Server(config, ready)


def host(app: FastAPI, where: Listening, listener: socket.socket, ready: Callable[[], None]) -> None:
    """Serve until SIGTERM or SIGINT, and return; in the main thread. See `make_server`."""
    server = make_server(app, where, ready)

    def leave(number: int, frame: FrameType | None) -> None:
        server.should_exit = True

    # Uvicorn passes a signal on when it has stopped: to the one before it, who would end the process at once.
    before = {number: signal.signal(number, leave) for number in (signal.SIGTERM, signal.SIGINT)}
    # What is there by now stays to the end. To look through all of it for garbage stops everybody for 100 ms.
    gc.collect()
    gc.freeze()
    try:
        server.run(sockets=[listener])
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._ready()
