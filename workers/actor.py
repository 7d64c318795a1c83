"""The Ray shell around a worker. All it does is to pass messages on.

Drivers import this module too, and can do without torch: only the worker's own process imports the engine.
"""

from __future__ import annotations

import os
import platform
import time

import ray

from workers import stacks
from workers.outbox import Numbered
from workers.protocol import QUIET_TORCH, Memory, Order, Pulse, TrainJob


@ray.remote(max_restarts=0, max_task_retries=0)
class WorkerActor:
    """One worker process of a job. `poll` and `tell` run beside each other (`max_concurrency`)."""

    def __init__(self, worker_id: str, job: TrainJob) -> None:
        begin = time.perf_counter()
        os.environ.setdefault(*QUIET_TORCH)
        stacks.prepare()
        from workers.worker import Worker

        startup = {"imports": time.perf_counter() - begin}
        self._worker = Worker(
            worker_id,
            job,
            node=platform.node(),
            node_id=ray.get_runtime_context().get_node_id(),
            host=ray.util.get_node_ip_address(),
            startup=startup,
        )
        self._worker.start()

    def where(self) -> tuple[int, str]:
        """Its process, and the id of its node; answered before the engine is built."""
        return os.getpid(), ray.get_runtime_context().get_node_id()

    def remember(self) -> Memory:
        """For a supervisor that has to begin anew."""
        return self._worker.remember()

    def tell(self, order: Order) -> None:
        """Pass an order to the engine."""
        self._worker.tell(order)

    def poll(self, acknowledged: int, timeout: float) -> tuple[list[Numbered], Pulse]:
        """Events after the acknowledged ones, after at most `timeout` seconds; and what goes on right now."""
        return self._worker.outbox.read(acknowledged, timeout), self._worker.pulse()


@ray.remote(num_cpus=0, max_retries=0)
def end_process(pid: int) -> str:
    """Kill a worker that hangs, from its own node; returns its stacks. Nothing happens for process 0."""
    return stacks.end(pid, stacks=True) if pid else ""
