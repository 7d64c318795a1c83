"""What the API asks of the control loop itself: nodes, drains, saves, the last snapshot, numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from prometheus_client import CollectorRegistry, Gauge, generate_latest

from orchestrator.records.facts import JobState
from orchestrator.scheduler import Snapshot
from orchestrator.scheduler.codec import to_json
from orchestrator.service.controller import Controller
from orchestrator.service.executor import ClusterNode, Executor
from orchestrator.service.world import DRAINS
from orchestrator.store.database import Database
from workers.errors import InputError, UnreachableError


class ServiceControl:
    """See `orchestrator.api.config.Control`. Called from the API's threads."""

    def __init__(self, database: Database, controller: Controller, executor: Executor) -> None:
        self._database, self._controller, self._executor = database, controller, executor

    def nodes(self) -> Sequence[Mapping[str, Any]]:
        """See `Control.nodes`."""
        snapshot, nodes = self._controller.seen
        return nodes_as_json(snapshot, nodes)

    def drain(self, node: str, seconds: float) -> None:
        """See `Control.drain`."""
        found = _match(node, self._controller.seen[1])
        with self._database.transaction() as tx:
            draining = dict(tx.memory.load(DRAINS, {}))
            draining[found.id] = self._controller.now() + seconds
            there = {node.id for node in self._controller.seen[1]}
            tx.memory.save(DRAINS, {id: until for id, until in draining.items() if id in there})
        self._controller.wake()

    def save(self, job: str) -> None:
        """See `Control.save`."""
        with self._database.reading() as tx:
            record = tx.jobs.get(job)
        where = f"job {record.submission.name}"
        if record.state is not JobState.RUNNING:
            fix = "wait until it runs"
            raise InputError(f"it is {record.state}, and has nothing new to save", where=where, fix=fix)
        if not (record.submission.spec.get("checkpoint") or {}).get("uri"):
            raise InputError("it saves no checkpoints", where=where, fix="give its file a checkpoint.uri")
        self._executor.save(record.id, record.attempt)

    def snapshot(self) -> bytes:
        """See `Control.snapshot`."""
        snapshot, _ = self._controller.seen
        if snapshot is None:
            raise UnreachableError("nothing was planned yet", fix="ask again once the cluster answers")
        return to_json(snapshot)

    def metrics(self) -> bytes:
        """See `Control.metrics`."""
        registry = CollectorRegistry()
        loop, planning = self._controller.took
        Gauge("lockstep_loop_seconds", "The latest control loop", registry=registry).set(loop)
        Gauge("lockstep_plan_seconds", "Planning in it", registry=registry).set(planning)
        jobs = Gauge("lockstep_jobs", "Jobs by state and queue", ["state", "queue"], registry=registry)
        workers = Gauge("lockstep_queue_workers", "Workers of a queue's jobs", ["queue"], registry=registry)
        snapshot, nodes = self._controller.seen
        if snapshot is not None:
            for (state, queue), count in Counter((j.state.value, j.queue) for j in snapshot.jobs).items():
                jobs.labels(state, queue).set(count)
            queues = {job.id: job.queue for job in snapshot.jobs}
            held: Counter[str] = Counter()
            for row in snapshot.allocations:
                held[queues.get(row.job, "")] += row.workers
            for queue, count in held.items():
                workers.labels(queue).set(count)
        Gauge("lockstep_nodes", "Nodes that are up", registry=registry).set(len(nodes))
        return generate_latest(registry)


def nodes_as_json(snapshot: Snapshot | None, nodes: Sequence[ClusterNode]) -> list[dict[str, Any]]:
    """The nodes with what is used of them, as `orchestrator.api.models.Node` has them."""
    jobs = {job.id: job for job in snapshot.jobs} if snapshot is not None else {}
    states = {node.id: node.state.value for node in snapshot.nodes} if snapshot is not None else {}
    used: dict[str, Counter[str]] = {node.id: Counter() for node in nodes}
    for row in snapshot.allocations if snapshot is not None else ():
        if row.node in used and row.job in jobs:
            request = jobs[row.job].request
            used[row.node] += Counter(
                cpu_millis=request.cpu_millis * row.workers,
                gpu_millis=request.gpu_millis * row.workers,
                workers=row.workers,
            )
    return [
        {
            "id": node.id,
            "name": node.name,
            "state": states.get(node.id, "up"),
            "zone": node.zone,
            "capacity": {
                "cpu_millis": node.capacity.cpu_millis,
                "gpu_millis": node.capacity.gpu_millis,
                "memory_mib": node.capacity.memory_mib,
            },
            "used": {kind: used[node.id][kind] for kind in ("cpu_millis", "gpu_millis")},
            "workers": used[node.id]["workers"],
        }
        for node in nodes
    ]


def _match(name: str, nodes: Sequence[ClusterNode]) -> ClusterNode:
    found = [node for node in nodes if name == node.name or node.id.startswith(name)]
    if len(found) == 1:
        return found[0]
    known = ", ".join(f"{node.id[:12]} ({node.name})" for node in nodes)
    what = f"{'several nodes' if found else 'no node of the cluster'} can be meant by {name!r}"
    raise InputError(what, where="node", fix=f"name one of {known}")
