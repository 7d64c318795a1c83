"""A cluster for benchmarks of the control loop: it has nodes, and jobs run nowhere."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from orchestrator.scheduler.snapshot import Resources
from orchestrator.service.executor import ClusterNode, Order, Report

CPUS, GPUS = 64, 8  # of each node


class QuietCluster:
    """An executor whose jobs do what the benchmark says.

    Args:
        nodes: how many.

    Attributes:
        orders: the last one about each job.
        told: what is reported next.
    """

    def __init__(self, nodes: int) -> None:
        self.orders: dict[str, Order] = {}
        self.told: list[Report] = []
        capacity = Resources(cpu_millis=1000 * CPUS, gpu_millis=1000 * GPUS)
        self._nodes = [ClusterNode(id=f"n{n:03}", capacity=capacity) for n in range(nodes)]

    def nodes(self) -> Sequence[ClusterNode]:
        return self._nodes

    def carry_out(self, order: Order) -> None:
        self.orders[order.job] = order

    def dismiss(self, job: str, attempt: int) -> None:
        self.orders.pop(job, None)

    def save(self, job: str, attempt: int) -> None:
        """Nobody asks."""

    def present(self) -> Collection[tuple[str, int]]:
        return {(order.job, order.attempt) for order in self.orders.values()}

    def reports(self) -> list[Report]:
        told, self.told = self.told, []
        return told
