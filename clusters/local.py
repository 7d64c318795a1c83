"""A Ray cluster on this machine, started for one job and ended with it."""

from __future__ import annotations

import logging
import os
import secrets

from clusters.connection import describe, quiet
from clusters.types import Cluster, Resources

#: Bytes of shared memory for Ray's object store. Gradients and data never pass through it.
_OBJECT_STORE_BYTES = 100 * 2**20


def start(needed: Resources) -> Cluster:
    """Start Ray here. It listens on loopback only and dies with this process.

    CPUs are counted as at least what the job needs: on a small machine its workers take turns, which changes
    the time and not the result. GPUs are counted as they are.
    """
    quiet()
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))  # other users of this machine stay out
    # Ray takes "127.0.0.1" to mean the machine's outer address, unless it is told that this is no cluster.
    os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    import ray

    ray.init(
        address="local",
        num_cpus=max(os.cpu_count() or 1, -int(-needed.cpus // 1)),
        object_store_memory=_OBJECT_STORE_BYTES,
        include_dashboard=False,
        log_to_driver=False,
        configure_logging=False,
        logging_level=logging.ERROR,
        _node_ip_address="127.0.0.1",
    )
    return describe("local", embedded=True)


def stop() -> None:
    """End the cluster and every process in it."""
    import ray

    ray.shutdown()
