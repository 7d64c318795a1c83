"""A Ray cluster that is there already."""

from __future__ import annotations

import logging
import socket

from clusters.connection import describe, quiet, stay_on_loopback
from clusters.types import Cluster

_ANSWER_SECONDS = 5.0


class ClusterNotFound(Exception):
    """There is no Ray cluster at the address."""


def connect(address: str) -> Cluster:
    """Join a running cluster as a driver.

    Args:
        address: `host:port` of its head, or "auto" for the one that this machine belongs to
            (or that `RAY_ADDRESS` names).

    Raises:
        ClusterNotFound: nobody answers there.
    """
    quiet()
    _check_answers(_found() if address == "auto" else address)
    if address.rpartition(":")[0] in ("127.0.0.1", "localhost"):
        stay_on_loopback()
    import ray

    try:
        ray.init(address=address, log_to_driver=False, configure_logging=False, logging_level=logging.ERROR)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise ClusterNotFound(str(error).splitlines()[0]) from error
    return describe(address, embedded=False)


def disconnect() -> None:
    """Leave the cluster; it goes on."""
    import ray

    ray.shutdown()


def _found() -> str:
    """Where Ray would look: what its sessions have left behind may lead to a cluster that is gone.

    Raises:
        ClusterNotFound: nowhere.
    """
    from ray._private.services import canonicalize_bootstrap_address

    try:
        return canonicalize_bootstrap_address("auto") or ""
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise ClusterNotFound(str(error).splitlines()[0]) from error


def _check_answers(address: str) -> None:
    """Ray itself would try for minutes."""
    host, _, port = address.rpartition(":")
    if not port.isdecimal():
        return  # not of this kind: Ray knows what it means
    try:
        socket.create_connection((host, int(port)), timeout=_ANSWER_SECONDS).close()
    except OSError as error:
        raise ClusterNotFound(error.strerror or str(error)) from error
