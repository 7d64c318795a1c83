"""Places a job's workers on a Ray cluster, all or none, and carries messages to and from them."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any

import ray
from ray.exceptions import RayActorError, RayError
from ray.util.placement_group import placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from clusters.types import Cluster, Resources
from orchestrator.gang.events import Lost
from workers.actor import WorkerActor
from workers.errors import InputError
from workers.protocol import Event, Order, TrainJob

#: How long a worker may hold a request for news before it answers that there is none.
_POLL_SECONDS = 10.0
_EXIT_DETAIL = re.compile(r"Worker exit detail: (.+?)\.?(?: Some common causes|$)", re.MULTILINE)
#: Calls that a worker actor serves at once: one poll, and orders beside it.
_CONCURRENCY = 4


class RayCrew:
    """The workers of one job as Ray actors in one placement group.

    Args:
        job: what to train.
        workers: their names.
        each: the resources of one worker.
        cluster: where they go.
        waiting: called every second while there is no room for them, with the seconds waited so far.

    Raises:
        InputError: the cluster could never hold them.
    """

    def __init__(
        self,
        job: TrainJob,
        workers: tuple[str, ...],
        each: Resources,
        cluster: Cluster,
        waiting: Callable[[float], None] = lambda _: None,
    ) -> None:
        _check_room(len(workers), each, cluster)
        self.workers = workers
        self._group = placement_group(
            [_bundle(each)] * len(workers), strategy="PACK", name=f"lockstep-{job.name}"
        )
        self._wait_for_room(waiting)
        job_ref = ray.put(job)
        self._actors = {
            worker: WorkerActor.options(  # type: ignore[attr-defined]
                num_cpus=each.cpus,
                num_gpus=each.gpus,
                max_concurrency=_CONCURRENCY,
                scheduling_strategy=PlacementGroupSchedulingStrategy(self._group, index),
            ).remote(worker, job_ref)
            for index, worker in enumerate(self.workers)
        }
        self._heard = dict.fromkeys(self.workers, 0)
        self._polls: dict[Any, str] = {}
        for worker in self.workers:
            self._poll(worker)

    def tell(self, worker: str, order: Order) -> None:
        """Send an order to a worker."""
        self._actors[worker].tell.remote(order)

    def hear(self, timeout: float) -> list[Event | Lost]:
        """Events and deaths, as they come."""
        if not self._polls:
            time.sleep(timeout)
            return []
        answered, _ = ray.wait(list(self._polls), num_returns=1, timeout=timeout)
        return [event for poll in answered for event in self._answer(poll)]

    def dismiss(self) -> None:
        """End all workers and give their room back."""
        for actor in self._actors.values():
            ray.kill(actor)
        remove_placement_group(self._group)

    def _answer(self, poll: Any) -> list[Event | Lost]:
        worker = self._polls.pop(poll)
        try:
            numbered = ray.get(poll)
        except RayActorError as error:
            return [Lost(worker=worker, cause=_cause(error))]
        if numbered:
            self._heard[worker] = numbered[-1][0]
        self._poll(worker)
        return [event for _, event in numbered]

    def _poll(self, worker: str) -> None:
        self._polls[self._actors[worker].poll.remote(self._heard[worker], _POLL_SECONDS)] = worker

    def _wait_for_room(self, waiting: Callable[[float], None]) -> None:
        begin = time.monotonic()
        while not self._group.wait(timeout_seconds=1):
            waiting(time.monotonic() - begin)


def _check_room(count: int, each: Resources, cluster: Cluster) -> None:
    if cluster.total.holds(each) < count:
        raise InputError(
            f"{count} workers with {each} each need {each.times(count)}, and the cluster has {cluster.total}",
            where="workers",
            fix="use fewer workers, ask for less per worker, or add nodes",
        )


def _bundle(each: Resources) -> dict[str, float]:
    return {"CPU": each.cpus} | ({"GPU": each.gpus} if each.gpus else {})


def _cause(error: RayError) -> str:
    """What Ray knows of a death, without its advice for clusters in general."""
    detail = _EXIT_DETAIL.search(str(error))
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return detail[1] if detail else (lines or [type(error).__name__])[-1]
