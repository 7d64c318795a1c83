"""Where the service may listen, and by which names it may be called. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import ip_address
from urllib.parse import urlsplit

from workers.errors import InputError

#: By these this machine calls itself.
LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
_PORT = re.compile(r":[0-9]{1,5}$")


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches it. A name that is not `localhost` may be anything."""
    if host == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def check_bind(host: str, *, tls: bool, behind_tls_proxy: bool, tokens: int) -> None:
    """Refuse to listen where others could read along, or where nobody could log in.

    Args:
        host: what is listened at.
        tls: there are a certificate and its key.
        behind_tls_proxy: somebody says that a proxy in front does that.
        tokens: how many there are that somebody could log in with.

    Raises:
        InputError: it would be unsafe, or useless.
    """
    if is_loopback(host):
        return
    if not tls and not behind_tls_proxy:
        fix = (
            "give --tls-cert and --tls-key, say --behind-tls-proxy if a proxy in front speaks TLS, or listen "
            "at 127.0.0.1"
        )
        raise InputError("others could read tokens on the network", where=f"--host {host}", fix=fix)
    if not tokens:
        fix = "make a token first: lockstep token create --user NAME --role admin --database URL"
        raise InputError("there is no token that anybody could log in with", where=f"--host {host}", fix=fix)


def allowed_names(host: str, more: Iterable[str] = ()) -> frozenset[str]:
    """The names by which a request may call the service.

    A page in somebody's browser can make its own name lead to this machine ("DNS rebinding"); the name in the
    request's Host header gives it away.

    Args:
        host: what is listened at.
        more: further names, of a proxy or in the network's name service.
    """
    names = {name.lower().strip("[]") for name in more} | LOOPBACK_NAMES
    if host not in ("0.0.0.0", "::", ""):
        names.add(host.lower().strip("[]"))
    return frozenset(names)


def host_name(header: str) -> str:
    """A Host header without its port, in lower case: `[::1]:80` → `::1`."""
    return _PORT.sub("", header.strip().lower()).removeprefix("[").removesuffix("]")


def is_same_origin(origin: str, host: str) -> bool:
    """Whether a browser's Origin header names the site that it called by the Host header.

    The scheme does not count: a proxy may have changed it.
    """
    return urlsplit(origin).netloc.lower() == host.strip().lower() != ""
