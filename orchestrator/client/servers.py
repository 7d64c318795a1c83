"""Which server is meant, and what lets us in."""

from __future__ import annotations

import os
from dataclasses import dataclass
from urllib.parse import urlsplit

from orchestrator.api.binding import is_loopback
from orchestrator.sessions import find_server
from workers.errors import AccessError, InputError, UnreachableError

URL_VARIABLE, TOKEN_VARIABLE = "LOCKSTEP_SERVER", "LOCKSTEP_TOKEN"


@dataclass(frozen=True, kw_only=True)
class Target:
    """A server.

    Attributes:
        certificate: file that its certificate is checked with; None for the system's.
    """

    url: str
    token: str
    certificate: str | None = None


def find_target(server: str | None = None, token: str | None = None) -> Target:
    """The server that is named here, or by LOCKSTEP_SERVER, or that this user runs on this machine.

    Args:
        token: what lets us in; None for LOCKSTEP_TOKEN, or what this user's own server left for them.

    Raises:
        InputError: this is no address of a server, or one that tokens should not be sent to.
        AccessError: there is no token.
        UnreachableError: no server is named, and this user runs none here.
    """
    session = find_server()
    url = (server or os.environ.get(URL_VARIABLE) or "").rstrip("/")
    token = token or os.environ.get(TOKEN_VARIABLE)
    if not url:
        if session is None:
            fix = f"start one with `lockstep serve`, or name one with --server URL or {URL_VARIABLE}"
            raise UnreachableError("this user runs no server on this machine", fix=fix)
        return Target(url=session.url, token=token or session.token, certificate=session.certificate)
    _check(url)
    if session is not None and session.url == url:
        return Target(url=url, token=token or session.token, certificate=session.certificate)
    if not token:
        raise AccessError("there is no token for it", where=url, fix=f"set {TOKEN_VARIABLE}")
    return Target(url=url, token=token)


def _check(url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InputError(
            "this is no address of a server", where=url, fix="write https://HOST or https://HOST:PORT"
        )
    if parts.scheme == "http" and not is_loopback(parts.hostname):
        fix = "write https://; the server wants TLS or a proxy that speaks it"
        raise InputError("a token would be sent in the clear", where=url, fix=fix)
