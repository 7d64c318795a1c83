"""One trace under several policies, on the same cluster, with the same accidents."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from orchestrator.scheduler import Policy
from orchestrator.scheduler.snapshot import NodeType
from orchestrator.simulator.fairness import alone, equal_shares, queues_of, shares_by_demand
from orchestrator.simulator.options import Options
from orchestrator.simulator.outcome import Outcome, outcome_of
from orchestrator.simulator.setting import Setting, gpus, machines
from orchestrator.simulator.simulation import Simulation
from orchestrator.simulator.trace import TraceJob
from workers.errors import InputError


class Shares(StrEnum):
    """How queues share the cluster."""

    EQUAL = "equal"
    DEMAND = "demand"  # by the work that they bring, at least their largest gang


@dataclass(frozen=True, kw_only=True)
class Study:
    """What is to be compared.

    Attributes:
        fairness: work out finish-time ratios, for which each queue is simulated on its own share too.
    """

    jobs: Sequence[TraceJob]
    nodes: int
    gpus_per_node: int
    options: Options = field(default_factory=Options)
    shares: Shares = Shares.EQUAL
    fairness: bool = True
    round_seconds: float = 0.0
    seed: int = 0

    def run(self, policies: Sequence[Policy]) -> Iterator[tuple[Policy, Simulation, Outcome]]:
        """One after the other.

        Raises:
            InputError: no job fits at all.
        """
        setting = self.setting()
        own = self.own_shares() if self.fairness and len(self.queue_shares()) > 1 else {}
        for policy in policies:
            simulation = Simulation(setting, self.jobs, replace(self.options.policy, policy=policy))
            if not simulation.possible:
                raise InputError(
                    f"no job fits on {self.nodes} nodes of {self.gpus_per_node} GPUs",
                    where="--nodes",
                    fix="simulate a larger cluster, or a trace of smaller jobs",
                )
            simulation.run()
            yield policy, simulation, outcome_of(simulation, own)

    def queue_shares(self) -> dict[str, int]:
        """GPUs by queue."""
        total = self.nodes * self.gpus_per_node
        return (equal_shares if self.shares is Shares.EQUAL else shares_by_demand)(self.jobs, total)

    def own_shares(self) -> dict[str, dict[str, float]]:
        """Queue → job → its completion, if the queue had its share to itself."""
        return alone(self.setting(), self.jobs, self.queue_shares())

    def setting(self) -> Setting:
        """The cluster."""
        more = self.options.nodes
        nodes = machines(
            self.nodes,
            self.gpus_per_node,
            zones=max(1, more.zones),
            spot=more.spot,
            price=more.price,
            spot_price=more.spot_price,
        )
        added = NodeType(
            id="added",
            capacity=gpus(self.gpus_per_node),
            zones=tuple(sorted({node.zone for node in nodes})),
            price=more.price,
            max_count=more.added,
            boot_seconds=more.boot_seconds,
        )
        return Setting(
            nodes=nodes,
            types=(added,) if more.added else (),
            queues=queues_of(self.queue_shares()),
            costs=self.options.costs,
            faults=self.options.faults,
            round_seconds=self.round_seconds,
            seed=self.seed,
        )
