"""The Ray shell around a worker. All it does is to pass messages on.

Drivers import this module too, and can do without torch: only the worker's own process imports the engine.
"""

from __future__ import annotations

import os
import platform
import time

import ray

from workers import lifesign, stacks
from workers.outbox import Numbered
from workers.protocol import ENVIRONMENT, Memory, Order, Pulse, TrainJob

_GPUS = "CUDA_VISIBLE_DEVICES"
#: Workers that one worker can watch at once: those of a whole machine, if the others are new.
_WATCHES = 16


@ray.remote(max_restarts=0, max_task_retries=0, concurrency_groups={"watch": _WATCHES})  # type: ignore[call-overload]
class WorkerActor:
    """One worker process of a job. `poll` and `tell` run beside each other (`max_concurrency`).

    Without a `worker_id` it is a standby, until it is told whom to `become`. `slot` names the room that it
    has, for a supervisor that has to begin anew.
    """

    def __init__(self, worker_id: str | None, job: TrainJob, slot: str | None = None) -> None:
        self._slot = slot
        begin = time.perf_counter()
        os.environ.update(ENVIRONMENT | os.environ)
        stacks.prepare()
        lifesign.give()
        from workers.imported import Worker

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

    def where(self) -> tuple[int, str, str | None, str | None]:
        """Its process, the id of its node, its GPUs and its slot; answered before the engine is built."""
        return os.getpid(), ray.get_runtime_context().get_node_id(), os.environ.get(_GPUS), self._slot

    def stand_by(self) -> int:
        """Returns its process when a standby could take over; raises what building it raised."""
        self._worker.wait_built()
        return os.getpid()

    def become(self, worker_id: str, gpus: str | None, slot: str) -> None:
        """Make a standby this worker, with the room and the GPUs of the one that was in its place."""
        self._slot = slot
        if gpus is not None:
            os.environ[_GPUS] = gpus
        self._worker.become(worker_id)

    @ray.method(concurrency_group="watch")
    def watch(self, pid: int) -> str | None:
        """Returns a worker's last words, often none, when it is dying; None if it cannot be watched."""
        is_dying, last_words = lifesign.watch(pid), stacks.last_words(pid)
        return last_words() if is_dying is not None and is_dying() else None

    def remember(self) -> Memory | None:
        """For a supervisor that has to begin anew; None from a standby."""
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
