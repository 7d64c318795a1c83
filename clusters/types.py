"""What the orchestrator needs to know of a cluster, whoever provides it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

#: Ray counts in units of 1e-4, floats do not: ten times 0.1 CPU must fit into one.
_ROUNDING = 1e-6


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What one worker needs, or what a cluster has: CPUs (may be fractions) and GPUs."""

    cpus: float
    gpus: float = 0.0

    def times(self, count: int) -> Resources:
        """For so many workers."""
        return Resources(cpus=self.cpus * count, gpus=self.gpus * count)

    def holds(self, each: Resources) -> int:
        """How many workers that need `each` fit in here, if the nodes were one."""
        parts = ((self.cpus, each.cpus), (self.gpus, each.gpus))
        return min(int(have / need + _ROUNDING) for have, need in parts if need > 0)

    def __str__(self) -> str:
        parts = [f"{self.cpus:g} CPU"] + ([f"{self.gpus:g} GPU"] if self.gpus else [])
        return " and ".join(parts)


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """A connected cluster.

    Attributes:
        address: where it listens.
        total: all its resources.
        nodes: node id → name, for people.
        embedded: it was started for this job and ends with it.
    """

    address: str
    total: Resources
    nodes: Mapping[str, str] = field(default_factory=dict)
    embedded: bool = False
