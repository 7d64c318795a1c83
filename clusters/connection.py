"""What is common to every way of reaching a Ray cluster."""

from __future__ import annotations

import os

from clusters.types import Cluster, Resources


def namespace() -> str:
    """Ray's name space of everything that Lockstep gives a name.

    Teams that share a cluster can have one each (`LOCKSTEP_NAMESPACE`); within one, a job's name is unique.
    """
    return os.environ.get("LOCKSTEP_NAMESPACE", "lockstep")


def quiet() -> None:
    """Ray's settings that must stand before it is imported: no usage reports, fewer banners, and no cluster
    that is joined or started because somebody asks for something after this process has left its own."""
    os.environ.setdefault("RAY_ENABLE_AUTO_CONNECT", "0")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_DEDUP_LOGS", "0")


def stay_on_loopback() -> None:
    """Ray takes "127.0.0.1" for the machine's outer address, unless it is told that this is no cluster."""
    os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"


def describe(address: str, *, embedded: bool) -> Cluster:
    """The cluster that this process is connected to."""
    import ray

    total = ray.cluster_resources()
    nodes = {node["NodeID"]: node["NodeManagerHostname"] for node in ray.nodes() if node["Alive"]}
    resources = Resources(cpus=total.get("CPU", 0.0), gpus=total.get("GPU", 0.0))
    return Cluster(address=address, total=resources, nodes=nodes, embedded=embedded)
