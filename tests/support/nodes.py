"""A Ray cluster of several nodes on this machine: a process of its own that ends when its stdin does.

    python -m tests.support.nodes NODES CPUS GPUS FOLDER

prints the address and each node's id as JSON; then kills the raylet of each node whose id it reads.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tests.support.ray_cluster import SAYS, cluster_process, settings_on_loopback

#: Ray notices in a second or two that a node is gone, and not after half a minute.
_HEALTH = {
    "RAY_health_check_initial_delay_ms": "500",
    "RAY_health_check_period_ms": "500",
    "RAY_health_check_timeout_ms": "1000",
    "RAY_health_check_failure_threshold": "3",
}


@dataclass(frozen=True, kw_only=True)
class Nodes:
    """A running cluster: its head runs no workers, and each node has room for some."""

    address: str
    environment: dict[str, str]
    ids: tuple[str, ...]
    process: subprocess.Popen[str]

    def kill(self, node: str) -> None:
        """SIGKILL to a node's raylet, and so to all that runs on the node."""
        if self.process.stdin is None:
            raise RuntimeError("the process has no pipe")
        print(node, file=self.process.stdin, flush=True)


@contextmanager
def ray_nodes(*, nodes: int, cpus: int, gpus: int = 0) -> Iterator[Nodes]:
    """Start a cluster; stop it in the end, whatever happens. GPUs are only counted."""
    settings = {**settings_on_loopback(), **_HEALTH}
    with cluster_process("tests.support.nodes", (nodes, cpus, gpus), settings) as (process, line):
        facts = json.loads(line)
        yield Nodes(
            address=facts["address"], environment=settings, ids=tuple(facts["nodes"]), process=process
        )


def main(nodes: int, cpus: int, gpus: int, folder: str) -> None:
    """Be the cluster until stdin ends."""
    from ray.cluster_utils import Cluster

    common = {"include_dashboard": False, "object_store_memory": 80 * 2**20, "node_ip_address": "127.0.0.1"}
    cluster = Cluster(initialize_head=True, head_node_args={**common, "num_cpus": 0, "temp_dir": folder})
    added = [cluster.add_node(**common, num_cpus=cpus, num_gpus=gpus, wait=True) for _ in range(nodes)]
    by_id = {node.node_id: node for node in added}
    print(SAYS + json.dumps({"address": cluster.address, "nodes": list(by_id)}), flush=True)
    for line in sys.stdin:
        for info in by_id[line.strip()].all_processes["raylet"]:
            os.kill(info.process.pid, signal.SIGKILL)
    cluster.shutdown()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
