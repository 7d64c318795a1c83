"""Room for a job's workers on a Ray cluster.

Where the cluster chooses, the first workers get one placement group, all or none; each one that is hired
later gets a group of its own, or the place of one that is gone. Where somebody outside chooses the nodes,
each worker has a group of its own from the beginning, which is given back as soon as its node should have
fewer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import ray
from ray.util.placement_group import placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from clusters.types import Resources


@dataclass(eq=False)
class Slot:
    """Room for one worker: a bundle of a placement group.

    Attributes:
        name: of the group, and the bundle's number in it.
        node: which it is on, and
        gpus: which GPUs belong to it, as CUDA_VISIBLE_DEVICES names them; once that is known.
    """

    group: Any
    bundle: int
    name: str
    node: str | None = None
    gpus: str | None = None

    @property
    def strategy(self) -> PlacementGroupSchedulingStrategy:
        """How to tell Ray to start an actor here."""
        return PlacementGroupSchedulingStrategy(self.group, self.bundle)


@dataclass(kw_only=True)
class _Group:
    """A placement group; `node` is where somebody outside wants it, if anybody does."""

    name: str
    handle: Any
    node: str | None


class Places:
    """The placement groups of one job. They are detached, as the workers in them are.

    Args:
        each: the resources of one worker.
        prefix: what the groups' names begin with.
    """

    def __init__(self, each: Resources, prefix: str) -> None:
        self._each, self._prefix = each, prefix
        self._groups: list[_Group] = []
        self._free: list[Slot] = []
        self._unclaimed: dict[str, Slot] = {}  # an earlier owner's, by name
        self._limit: Mapping[str, int] | None = None

    def take(self, avoid: Collection[str], node: str | None = None) -> Slot | None:
        """A slot that nobody has: on this node, or on none of those to avoid; None if there is none."""
        fits = (slot for slot in self._free if slot.node not in avoid and node in (None, slot.node))
        slot = next(fits, None)
        if slot is not None:
            self._free.remove(slot)
        return slot

    def give_back(self, slot: Slot) -> None:
        """Its worker is gone."""
        self._free.append(slot)
        self._trim()

    def limit(self, places: Mapping[str, int]) -> None:
        """Keep no more room than this on each node; what workers still have is kept until they are gone."""
        self._limit = dict(places)
        self._trim()

    def held(self) -> dict[str, int]:
        """For how many workers room is kept, or asked for, on nodes that were named."""
        return dict(Counter(group.node for group in list(self._groups) if group.node is not None))

    def reserve(
        self, workers: list[str], avoid: Collection[str], nodes: Mapping[str, str]
    ) -> list[tuple[Any, tuple[str, ...]]]:
        """Ask for room for these workers, each on its node if it has one.

        Returns:
            new groups, which are not ready yet, and who goes where.
        """
        first = not self._groups and not nodes
        shares = [tuple(workers)] if first else [(worker,) for worker in workers]
        return [(self._group(share, avoid, nodes.get(share[0])), share) for share in shares if share]

    def slots(self, group: Any) -> list[Slot]:
        """Of a group that is ready."""
        known = next(known for known in self._groups if known.handle == group)
        return [
            Slot(group, bundle, f"{known.name}#{bundle}", known.node)
            for bundle in range(len(group.bundle_specs))
        ]

    def drop(self, group: Any) -> bool:
        """Nobody wants a group any more that is not ready yet; whether it is gone: only one whose node was
        named, others may be of use to somebody else."""
        known = next((known for known in self._groups if known.handle == group), None)
        if known is None or known.node is None:
            return known is None
        self._remove(known)
        return True

    def adopt(self) -> None:
        """Take over the groups that an earlier owner has left behind."""
        groups: dict[str, Any] = ray.util.placement_group_table()
        for facts in groups.values():
            if facts["name"].startswith(self._prefix) and facts["state"] != "REMOVED":
                handle = ray.util.get_placement_group(facts["name"])
                _, _, node = facts["name"].partition("@")
                self._groups.append(_Group(name=facts["name"], handle=handle, node=node or None))
                self._unclaimed |= {slot.name: slot for slot in self.slots(handle)}

    def claim(self, name: str | None) -> Slot | None:
        """The slot that a worker says it has had from an earlier owner."""
        return self._unclaimed.pop(name or "", None)

    def drop_unclaimed(self) -> None:
        """All workers of the earlier owner have said what they have: nobody has the rest."""
        unclaimed, self._unclaimed = self._unclaimed, {}
        self._free += unclaimed.values()
        if unclaimed:
            self._trim()

    def close(self) -> None:
        """Give all room back."""
        for group in self._groups:
            remove_placement_group(group.handle)
        self._groups = []

    def _trim(self) -> None:
        """Give free room back where there is more than may be kept."""
        if self._limit is None:
            return
        there = self.held()
        for slot in list(self._free):
            known = next((known for known in self._groups if known.handle == slot.group), None)
            node = known.node if known is not None else None
            if known is not None and node is not None and there[node] > self._limit.get(node, 0):
                there[node] -= 1
                self._free.remove(slot)
                self._remove(known)

    def _remove(self, group: _Group) -> None:
        remove_placement_group(group.handle)
        self._groups = [other for other in self._groups if other is not group]

    def _group(self, workers: tuple[str, ...], avoid: Collection[str], node: str | None) -> Any:
        selector = [{"ray.io/node-id": f"!in({','.join(sorted(avoid))})"}] * len(workers) if avoid else None
        name = f"{self._prefix}{workers[0]}"
        if node is not None:
            selector, name = [{"ray.io/node-id": node}], f"{name}@{node}"
        group = placement_group(
            [bundle(self._each)] * len(workers),
            strategy="PACK",
            name=name,
            lifetime="detached",
            bundle_label_selector=selector,
        )
        self._groups = [*self._groups, _Group(name=name, handle=group, node=node)]
        return group


def bundle(each: Resources) -> dict[str, float]:
    """What Ray calls the resources of one worker."""
    return {"CPU": each.cpus} | ({"GPU": each.gpus} if each.gpus else {})
