"""A job's worker actors in Ray: started under names, found again by them.

They are detached: they outlive whoever supervises them.
"""

from __future__ import annotations

import re
import uuid
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from clusters.types import Resources
from orchestrator.crew.places import Slot
from workers import stacks
from workers.actor import WorkerActor, end_process
from workers.protocol import Fault, Lost, Memory, TrainJob

#: How long a worker may take to tell what it remembers.
_ADOPT_SECONDS = 3.0
#: Calls that a worker actor serves at once: one poll, and orders beside it.
_CONCURRENCY = 4
#: The id of no node.
_NOWHERE = "0" * 56
_EXIT_DETAIL = re.compile(r"Worker exit detail: (.+?)\.?(?: Some common causes|$)", re.MULTILINE)
_NODE_DIED = re.compile(r"node (has )?died|node was terminated|node is dead", re.IGNORECASE)


class Actors:
    """The actors of one job.

    Args:
        job: what to train.
        each: the resources of one worker.
        run: tells this run's actors from those of other runs of the job.
        namespace: Ray's name space for them.
    """

    def __init__(self, job: TrainJob, each: Resources, run: str, namespace: str) -> None:
        self._job, self._each = ray.put(job), each
        self._run, self._namespace = run, namespace
        # Ray publishes a function at its first call; at the time that this one is needed the network may be
        # what is broken. On a node that is not there no process is started for it.
        ray.wait([end_with_stacks(0, _NOWHERE)], timeout=0)

    def start(self, worker: str, slot: Slot) -> Any:
        """A worker's handle; it is on its way."""
        resources = {"num_cpus": self._each.cpus, "num_gpus": self._each.gpus}
        actor = self._actor(worker, scheduling_strategy=slot.strategy, **resources)
        return actor.remote(worker, self._job, slot.name)

    def start_standby(self, node: str) -> Any:
        """The handle of a process that belongs to no worker yet."""
        name = f"standby-{uuid.uuid4().hex[:8]}"  # an earlier supervisor's may be workers by now
        return self._actor(name, scheduling_strategy=_on(node), num_cpus=0).remote(None, self._job)

    def remembered(self) -> list[tuple[Any, Memory]]:
        """Workers of a supervisor that died, with what they remember; those that do not answer are ended."""
        prefix = f"{self._run}/"
        named = [actor["name"] for actor in ray.util.list_named_actors(all_namespaces=True)]
        handles = {name: ray.get_actor(name, self._namespace) for name in named if name.startswith(prefix)}
        asked: dict[Any, str] = {handle.remember.remote(): name for name, handle in handles.items()}
        answered, silent = ray.wait(list(asked), num_returns=len(asked), timeout=_ADOPT_SECONDS)
        for ref in silent:
            ray.kill(handles[asked[ref]])
        found: list[tuple[Any, Memory]] = []
        for ref in answered:
            handle: Any = handles[asked[ref]]
            try:
                memory: Memory | None = ray.get(ref)
            except RayError:
                continue  # it died meanwhile
            if memory is None:  # a standby; there will be others
                ray.kill(handle)
            else:
                found.append((handle, memory))
        return found

    def _actor(self, name: str, **options: Any) -> Any:
        return WorkerActor.options(  # type: ignore[attr-defined]
            name=f"{self._run}/{name}",
            namespace=self._namespace,
            lifetime="detached",
            max_concurrency=_CONCURRENCY,
            **options,
        )


def end_with_stacks(pid: int, node: str) -> Any:
    """Have a process of a node killed; Ray's reference to its Python stacks."""
    return end_process.options(scheduling_strategy=_on(node)).remote(pid)


def lost(worker: str, text: str, words: str = "") -> Lost:
    """What is known of a death: the worker's last words, or what Ray says, without its general advice."""
    if words:
        return Lost(worker=worker, cause=stacks.cause(words), by_itself=True)
    fault = Fault.NODE if _NODE_DIED.search(text) else Fault.CRASH
    detail = _EXIT_DETAIL.search(text)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    cause = detail[1] if detail else (lines or ["of an unknown cause"])[-1]
    return Lost(worker=worker, cause=cause, fault=fault)


def _on(node: str) -> NodeAffinitySchedulingStrategy:
    return NodeAffinitySchedulingStrategy(node_id=node, soft=False)
