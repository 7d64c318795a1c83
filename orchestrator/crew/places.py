"""Room for a job's workers on a Ray cluster.

The first workers get one placement group, all or none; each one that is hired later gets a group of its own,
or the place of one that is gone.
"""

from __future__ import annotations

from collections.abc import Collection
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
        node: which it is on, and
        gpus: which GPUs belong to it, as CUDA_VISIBLE_DEVICES names them; once that is known.
    """

    group: Any
    bundle: int
    node: str | None = None
    gpus: str | None = None

    @property
    def strategy(self) -> PlacementGroupSchedulingStrategy:
        """How to tell Ray to start an actor here."""
        return PlacementGroupSchedulingStrategy(self.group, self.bundle)


class Places:
    """The placement groups of one job. They are detached, as the workers in them are.

    Args:
        each: the resources of one worker.
        prefix: what the groups' names begin with.
    """

    def __init__(self, each: Resources, prefix: str) -> None:
        self._each, self._prefix = each, prefix
        self._groups: list[Any] = []
        self._free: list[Slot] = []

    def take(self, avoid: Collection[str]) -> Slot | None:
        """A slot that nobody has, on none of these nodes; None if there is none."""
        slot = next((slot for slot in self._free if slot.node not in avoid), None)
        if slot is not None:
            self._free.remove(slot)
        return slot

    def give_back(self, slot: Slot) -> None:
        """Its worker is gone."""
        self._free.append(slot)

    def reserve(self, workers: list[str], avoid: Collection[str]) -> list[tuple[Any, tuple[str, ...]]]:
        """Ask for room for these workers; returns new groups, which are not ready yet, and who goes where."""
        first = not self._groups
        shares = [tuple(workers)] if first else [(worker,) for worker in workers]
        return [(self._group(share, avoid), share) for share in shares if share]

    def slots(self, group: Any) -> list[Slot]:
        """Of a group that is ready."""
        return [Slot(group, bundle) for bundle in range(len(group.bundle_specs))]

    def adopt(self) -> None:
        """Take over the groups that an earlier owner has left behind."""
        groups: dict[str, Any] = ray.util.placement_group_table()
        for facts in groups.values():
            if facts["name"].startswith(self._prefix) and facts["state"] != "REMOVED":
                self._groups.append(ray.util.get_placement_group(facts["name"]))

    def close(self) -> None:
        """Give all room back."""
        for group in self._groups:
            remove_placement_group(group)

    def _group(self, workers: tuple[str, ...], avoid: Collection[str]) -> Any:
        selector = [{"ray.io/node-id": f"!in({','.join(sorted(avoid))})"}] * len(workers) if avoid else None
        group = placement_group(
            [bundle(self._each)] * len(workers),
            strategy="PACK",
            name=f"{self._prefix}{workers[0]}",
            lifetime="detached",
            bundle_label_selector=selector,
        )
        self._groups.append(group)
        return group


def bundle(each: Resources) -> dict[str, float]:
    """What Ray calls the resources of one worker."""
    return {"CPU": each.cpus} | ({"GPU": each.gpus} if each.gpus else {})
