"""A plan beside what has become of the cluster: item by item, what does not fit any more is dropped."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from orchestrator.scheduler.actions import (
    Action,
    AddNodes,
    DrainNode,
    Plan,
    Preempt,
    Reject,
    Reserve,
    Resize,
    Start,
)
from orchestrator.scheduler.queues import covers, minus, needs
from orchestrator.scheduler.snapshot import Amounts, Job, JobState, NodeState, Placement, Snapshot


@dataclass(frozen=True, kw_only=True, slots=True)
class Dropped:
    """An action that is not carried out, and why not."""

    action: Action
    why: str


def recheck(plan: Plan, fresh: Snapshot) -> tuple[Plan, tuple[Dropped, ...]]:
    """The plan without what has been overtaken, and what that was.

    Each action is judged as if those kept before it had been carried out: starts and growth find their room
    free, or are dropped whole. What is dropped is no loss: the next plan starts from the fresh state.
    """
    state = _State(fresh, plan.actions)
    kept: list[Action] = []
    dropped: list[Dropped] = []
    for action in plan.actions:
        why = state.refuses(action)
        if why is None:
            kept.append(action)
        else:
            dropped.append(Dropped(action=action, why=why))
    return replace(plan, actions=tuple(kept)), tuple(dropped)


class _State:
    """A snapshot, and what the actions kept so far make of it."""

    def __init__(self, fresh: Snapshot, actions: Sequence[Action]) -> None:
        self._fresh = fresh
        self._starting = {action.job for action in actions if isinstance(action, Start)}
        self._jobs = {job.id: job for job in fresh.jobs}
        self._nodes = {node.id: node for node in fresh.nodes}
        named = _named(actions)
        self._free: dict[str, Amounts] = {
            node.id: node.capacity.amounts
            for node in fresh.nodes
            if node.state is NodeState.UP and node.id in named
        }
        for allocation in fresh.allocations:
            if allocation.node in self._free and (job := self._jobs.get(allocation.job)) is not None:
                free = self._free[allocation.node]
                self._free[allocation.node] = minus(free, needs(job, allocation.workers))
        self._handled: set[str] = set()
        self._started: set[str] = set()
        self._added: dict[str, int] = {}
        self._checks: dict[type, Callable[[Any], str | None]] = {
            Start: self._start,
            Resize: self._resize,
            Preempt: self._preempt,
            Reserve: self._reserve,
            AddNodes: self._add_nodes,
            DrainNode: self._drain_node,
            Reject: lambda action: self._is(action, JobState.PENDING),
        }

    def refuses(self, action: Action) -> str | None:
        """Why an action cannot be carried out any more; None if it can."""
        return self._checks[type(action)](action)

    def _is(self, action: Start | Resize | Preempt | Reject, state: JobState) -> str | None:
        job = self._jobs.get(action.job)
        if job is None:
            return "the job is gone"
        if job.version != action.version:
            return f"the job has changed: version {job.version} instead of {action.version}"
        if job.state is not state:
            return f"the job is {job.state}"
        if job.id in self._handled:
            return "an earlier action is about the same job"
        self._handled.add(job.id)
        return None

    def _waits(self, id: str) -> str | None:
        job = self._jobs.get(id)
        if job is None or job.state is not JobState.PENDING or id in self._started:
            return f"{id} does not wait any more"
        return None

    def _start(self, action: Start) -> str | None:
        why = self._is(action, JobState.PENDING) or self._fit(self._jobs[action.job], action.placement)
        if why is None:
            self._started.add(action.job)
        return why

    def _resize(self, action: Resize) -> str | None:
        why = self._is(action, JobState.RUNNING)
        if why is None and action.for_job is not None:
            why = self._waits(action.for_job)
        return why or self._fit(self._jobs[action.job], action.placement)

    def _preempt(self, action: Preempt) -> str | None:
        why = self._is(action, JobState.RUNNING)
        return why if why is not None or action.for_job is None else self._waits(action.for_job)

    def _held_by(self, job: Job) -> dict[str, int]:
        """Workers that stay, by node."""
        held: dict[str, int] = {}
        if job.state is JobState.RUNNING:
            for allocation in self._fresh.allocations:
                if allocation.job == job.id:
                    stays = allocation.workers - allocation.leaving
                    held[allocation.node] = held.get(allocation.node, 0) + stays
        return held

    def _fit(self, job: Job, placement: Placement) -> str | None:
        """Take the room of all workers that are new, or of none."""
        workers = sum(place.workers for place in placement)
        if not job.min_workers <= workers <= job.max_workers:
            return f"{workers} workers are not between {job.min_workers} and {job.max_workers}"
        after: dict[str, Amounts] = {}
        held = self._held_by(job)
        for place in placement:
            more = place.workers - held.get(place.node, 0)
            if more <= 0:
                continue
            free = after.get(place.node, self._free.get(place.node))
            if free is None:
                return f"node {place.node} is not up"
            owner = self._nodes[place.node].for_job
            # What is left of a node whose gang starts in the same plan is anybody's.
            mine = owner is None or owner == job.id or owner in self._starting
            if owner is not None and not mine and self._waits(owner) is None:
                return f"node {place.node} is kept for {owner}"
            need = needs(job, more)
            if not covers(free, need):
                return f"node {place.node} has no room for {more} more workers"
            after[place.node] = minus(free, need)
        self._free.update(after)
        return None

    def _reserve(self, action: Reserve) -> str | None:
        reservation = action.reservation
        if (why := self._waits(reservation.job)) is not None:
            return why
        if self._jobs[reservation.job].version != action.version:
            return "the job has changed"
        for place in reservation.places:
            node = self._nodes.get(place.node)
            if node is None or node.state is NodeState.DRAINING:
                return f"node {place.node} is gone"
        return None

    def _add_nodes(self, action: AddNodes) -> str | None:
        if (why := self._waits(action.for_job)) is not None:
            return why
        for type in self._fresh.node_types:
            if type.id == action.type:
                there = sum(
                    n.type == type.id and n.state is not NodeState.DRAINING for n in self._fresh.nodes
                )
                if there + self._added.get(type.id, 0) + action.count > type.max_count:
                    return f"there may be {type.max_count} nodes of type {type.id}"
                self._added[type.id] = self._added.get(type.id, 0) + action.count
                return None
        return f"there is no type {action.type} any more"

    def _drain_node(self, action: DrainNode) -> str | None:
        node = self._nodes.get(action.node)
        if node is None or node.state is not NodeState.UP:
            return "the node is not up"
        if node.idle_since is None or any(a.node == node.id for a in self._fresh.allocations):
            return "the node is in use"
        if node.capacity.amounts != self._free[node.id]:
            return "a job starts there"
        return None


def _named(actions: Sequence[Action]) -> set[str]:
    """Nodes on which it matters how much is free."""
    named = {action.node for action in actions if isinstance(action, DrainNode)}
    for action in actions:
        if isinstance(action, (Start, Resize)):
            named |= {place.node for place in action.placement}
    return named
