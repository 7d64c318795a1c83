"""A Ray cluster on this machine, started for one job and ended with it."""

from __future__ import annotations

import logging
import os
import secrets
from dataclasses import replace

from clusters.connection import describe, quiet, stay_on_loopback
from clusters.types import Cluster

#: Bytes of shared memory for Ray's object store. Gradients and data never pass through it.
_OBJECT_STORE_BYTES = 100 * 2**20


def start(processes: int) -> Cluster:
    """Start Ray here. It listens on loopback only and dies with this process.

    Args:
        processes: how many are going to be needed soon; Ray starts them while it has nothing else to do.
    """
    quiet()
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))  # other users of this machine stay out
    stay_on_loopback()
    import ray

    ray.init(
        address="local",
        num_cpus=processes,
        object_store_memory=_OBJECT_STORE_BYTES,
        include_dashboard=False,
        log_to_driver=False,
        configure_logging=False,
        logging_level=logging.ERROR,
        _node_ip_address="127.0.0.1",
    )
    cluster = describe(ray.get_runtime_context().gcs_address, embedded=True)
    return replace(cluster, total=replace(cluster.total, cpus=float(os.cpu_count() or 1)))


def stop() -> None:
    """End the cluster and every process in it."""
    import ray

    ray.shutdown()
