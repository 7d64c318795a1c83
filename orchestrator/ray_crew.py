"""A job's workers as Ray actors: placed, heard, told and ended.

The first workers get one placement group, all or none; each one that is hired later gets a group of its own,
or the place of one that is gone. Workers are detached: they outlive whoever supervises them.
"""

from __future__ import annotations

import re
import time
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import ActorUnavailableError, RayActorError, RayError
from ray.util.placement_group import placement_group, remove_placement_group
from ray.util.scheduling_strategies import (
    NodeAffinitySchedulingStrategy,
    PlacementGroupSchedulingStrategy,
)

from clusters.types import Resources
from workers.actor import WorkerActor, end_process
from workers.protocol import Beat, Fault, Lost, Memory, News, Order, Placed, Stacks, TrainJob

#: How often a worker that has nothing to tell says that it is alive.
_BEAT_SECONDS = 0.25
#: How long a worker may take to tell what it remembers.
_ADOPT_SECONDS = 3.0
#: Calls that a worker actor serves at once: one poll, and orders beside it.
_CONCURRENCY = 4
_EXIT_DETAIL = re.compile(r"Worker exit detail: (.+?)\.?(?: Some common causes|$)", re.MULTILINE)
_NODE_DIED = re.compile(r"node (has )?died|node was terminated|node is dead", re.IGNORECASE)


@dataclass(eq=False)
class _Slot:
    """Room for one worker: a bundle of a placement group, and the node that it is on, once that is known."""

    group: Any
    bundle: int
    node: str | None = None


@dataclass
class _Actor:
    """One worker."""

    handle: Any
    slot: _Slot | None  # None for one that was adopted: which bundle it has is not known
    heard: int = 0  # the number of the last event
    pid: int | None = None
    node: str | None = None


class RayCrew:
    """The workers of one job.

    Args:
        job: what to train.
        each: the resources of one worker.
        run: tells this run's actors from those of other runs of the job.
        namespace: Ray's name space for them.
    """

    def __init__(self, job: TrainJob, each: Resources, run: str, namespace: str) -> None:
        self._job, self._job_ref = job, ray.put(job)
        self._each, self._run, self._namespace = each, run, namespace
        self._actors: dict[str, _Actor] = {}
        self._free: list[_Slot] = []
        self._groups: list[Any] = []
        self._placing: dict[Any, tuple[Any, tuple[str, ...]]] = {}  # until a group is placed: who goes there
        self._polls: dict[Any, str] = {}
        self._places: dict[Any, str] = {}  # who was asked where it is
        self._ending: dict[Any, str] = {}  # whose stacks are on their way
        self._news: list[News] = []
        self._again: dict[str, float] = {}  # out of reach at the moment: when to poll again
        # Ray publishes a function at its first call; at the time that this one is needed the network may be
        # what is broken.
        ray.wait([end_process.remote(0)], timeout=0)

    def hire(self, workers: Sequence[str], avoid: Collection[str] = ()) -> None:
        """See `orchestrator.supervisor.Crew.hire`."""
        waiting = list(workers)
        for slot in [slot for slot in self._free if slot.node not in avoid]:
            if waiting:
                self._free.remove(slot)
                self._news.append(Placed(workers=(waiting[0],)))
                self._start(waiting.pop(0), slot)
        first = not self._groups
        for together in [waiting] if first else [[worker] for worker in waiting]:
            if together:
                self._place(tuple(together), avoid)

    def tell(self, worker: str, order: Order) -> None:
        """See `orchestrator.supervisor.Crew.tell`."""
        if worker in self._actors:
            self._actors[worker].handle.tell.remote(order)

    def hear(self, timeout: float) -> list[News]:
        """See `orchestrator.supervisor.Crew.hear`."""
        now = time.monotonic()
        for worker in [worker for worker, due in self._again.items() if due <= now]:
            del self._again[worker]
            self._poll(worker)
        refs = [*self._polls, *self._placing, *self._places, *self._ending]
        if not refs:
            time.sleep(timeout)
            return []
        done, _ = ray.wait(refs, num_returns=1, timeout=0 if self._news else timeout)
        if done:
            done, _ = ray.wait(refs, num_returns=len(refs), timeout=0)
        for ref in done:
            self._take(ref)
        news, self._news = self._news, []
        return news

    def dismiss(self, worker: str, *, stacks: bool = False) -> None:
        """See `orchestrator.supervisor.Crew.dismiss`."""
        for ref, (group, workers) in list(self._placing.items()):
            if worker in workers:
                self._placing[ref] = (group, tuple(other for other in workers if other != worker))
        actor = self._actors.get(worker)
        if actor is None:
            return
        if stacks and actor.pid is not None and actor.node is not None:
            there = NodeAffinitySchedulingStrategy(node_id=actor.node, soft=False)
            ending = end_process.options(scheduling_strategy=there)
            self._ending[ending.remote(actor.pid)] = worker
        else:
            ray.kill(actor.handle)
        self._forget(worker)

    def close(self) -> None:
        """End all workers and give their room back."""
        for worker in list(self._actors):
            self.dismiss(worker)
        if self._ending:  # they are the last to go
            ray.wait(list(self._ending), num_returns=len(self._ending), timeout=1)
        for group in self._groups:
            remove_placement_group(group)

    def nodes(self) -> dict[str, str]:
        """Nodes of the cluster that are alive: id → name."""
        return {node["NodeID"]: node["NodeManagerHostname"] for node in ray.nodes() if node["Alive"]}

    def adopt(self) -> list[Memory]:
        """Take over the workers of a supervisor that died; those that do not answer are ended."""
        prefix = f"{self._run}/"
        named = [actor["name"] for actor in ray.util.list_named_actors(all_namespaces=True)]
        handles = {name: ray.get_actor(name, self._namespace) for name in named if name.startswith(prefix)}
        asked: dict[Any, str] = {handle.remember.remote(): name for name, handle in handles.items()}
        answered, silent = ray.wait(list(asked), num_returns=len(asked), timeout=_ADOPT_SECONDS)
        for ref in silent:
            ray.kill(handles[asked[ref]])
        memories: list[Memory] = []
        for ref in answered:
            handle: Any = handles[asked[ref]]
            try:
                memory: Memory = ray.get(ref)
            except RayError:
                continue  # it died meanwhile
            memories.append(memory)
            self._actors[memory.worker] = _Actor(handle=handle, slot=None, heard=memory.position)
            self._places[handle.where.remote()] = memory.worker
            self._poll(memory.worker)
        groups: dict[str, Any] = ray.util.placement_group_table()
        for facts in groups.values():
            if facts["name"].startswith(prefix) and facts["state"] != "REMOVED":
                self._groups.append(ray.util.get_placement_group(facts["name"]))
        return memories

    # --- placing ---

    def _place(self, workers: tuple[str, ...], avoid: Collection[str]) -> None:
        selector = [{"ray.io/node-id": f"!in({','.join(sorted(avoid))})"}] * len(workers) if avoid else None
        group = placement_group(
            [_bundle(self._each)] * len(workers),
            strategy="PACK",
            name=f"{self._run}/{workers[0]}",
            lifetime="detached",
            bundle_label_selector=selector,
        )
        self._groups.append(group)
        self._placing[group.ready()] = (group, workers)

    def _start(self, worker: str, slot: _Slot) -> None:
        handle = WorkerActor.options(  # type: ignore[attr-defined]
            name=f"{self._run}/{worker}",
            namespace=self._namespace,
            lifetime="detached",
            num_cpus=self._each.cpus,
            num_gpus=self._each.gpus,
            max_concurrency=_CONCURRENCY,
            scheduling_strategy=PlacementGroupSchedulingStrategy(slot.group, slot.bundle),
        ).remote(worker, self._job_ref)
        self._actors[worker] = _Actor(handle=handle, slot=slot)
        self._places[handle.where.remote()] = worker
        self._poll(worker)

    def _poll(self, worker: str) -> None:
        actor = self._actors[worker]
        self._polls[actor.handle.poll.remote(actor.heard, _BEAT_SECONDS)] = worker

    def _forget(self, worker: str) -> None:
        actor = self._actors.pop(worker)
        self._again.pop(worker, None)
        for refs in (self._polls, self._places):
            for ref in [ref for ref, other in refs.items() if other == worker]:
                del refs[ref]
        if actor.slot is not None:
            self._free.append(actor.slot)

    # --- hearing ---

    def _take(self, ref: Any) -> None:
        if ref in self._polls:
            self._take_poll(self._polls.pop(ref), ref)
        elif ref in self._placing:
            group, workers = self._placing.pop(ref)
            if workers:
                self._news.append(Placed(workers=workers))
            slots = [_Slot(group, bundle) for bundle in range(len(group.bundle_specs))]
            for worker in workers:
                self._start(worker, slots.pop(0))
            self._free += slots
        elif ref in self._places:
            actor = self._actors[self._places.pop(ref)]
            with suppress(RayError):  # its poll says the same
                actor.pid, actor.node = ray.get(ref)
                if actor.slot is not None:
                    actor.slot.node = actor.node
        elif ref in self._ending:
            with suppress(RayError):  # its node is gone too
                self._news.append(Stacks(worker=self._ending.pop(ref), text=ray.get(ref)))

    def _take_poll(self, worker: str, ref: Any) -> None:
        try:
            numbered, pulse = ray.get(ref)
        except ActorUnavailableError:
            self._again[worker] = time.monotonic() + _BEAT_SECONDS
            return
        except RayActorError as error:
            text = str(error)
            fault = Fault.NODE if _NODE_DIED.search(text) else Fault.CRASH
            self._news.append(Lost(worker=worker, cause=_cause(text), fault=fault))
            self._forget(worker)
            return
        if numbered:
            self._actors[worker].heard = numbered[-1][0]
        self._poll(worker)
        self._news += [event for _, event in numbered]
        self._news.append(Beat(worker=worker, pulse=pulse))


def _bundle(each: Resources) -> dict[str, float]:
    return {"CPU": each.cpus} | ({"GPU": each.gpus} if each.gpus else {})


def _cause(text: str) -> str:
    """What Ray knows of a death, without its advice for clusters in general."""
    detail = _EXIT_DETAIL.search(text)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return detail[1] if detail else (lines or ["of an unknown cause"])[-1]
