"""The Ray shell around a worker. All it does is to pass messages on.

Drivers import this module too, and can do without torch: only the worker's own process imports the engine.
"""

from __future__ import annotations

import platform
import time

import ray

from workers.outbox import Numbered
from workers.protocol import Order, TrainJob


@ray.remote(max_restarts=0, max_task_retries=0)
class WorkerActor:
    """One worker process of a job. `poll` and `tell` run beside each other (`max_concurrency`)."""

    def __init__(self, worker_id: str, job: TrainJob) -> None:
        begin = time.perf_counter()
        from workers.worker import Worker

        startup = {"imports": time.perf_counter() - begin}
        host = ray.util.get_node_ip_address()
        self._worker = Worker(worker_id, job, node=platform.node(), host=host, startup=startup)
        self._worker.start()

    def tell(self, order: Order) -> None:
        """Pass an order to the engine."""
        self._worker.tell(order)

    def poll(self, acknowledged: int, timeout: float) -> list[Numbered]:
        """Events after the acknowledged ones; waits up to `timeout` seconds for the first."""
        return self._worker.outbox.read(acknowledged, timeout)
