"""When nodes fail or are taken away: at random, and at the same moments whatever the policy does."""

from __future__ import annotations

from random import Random

from orchestrator.scheduler.snapshot import Market, Node
from orchestrator.simulator.events import Agenda, Fails, Notice, Returns, TakenAway
from orchestrator.simulator.setting import Faults


class Accidents:
    """Draws each node's fate as it comes up, from the seed, its name and how often it came up before."""

    def __init__(self, faults: Faults, seed: int, agenda: Agenda) -> None:
        self._faults, self._seed, self._agenda = faults, seed, agenda
        self._lives: dict[str, int] = {}
        self._away: dict[str, Node] = {}

    def threaten(self, node: Node, now: float) -> None:
        """It has just come up."""
        life = self._lives[node.id] = self._lives.get(node.id, 0) + 1
        random = Random(f"{self._seed} {node.id} {life}")
        if self._faults.node_seconds is not None:
            self._agenda.add(now + random.expovariate(1 / self._faults.node_seconds), Fails(node.id, life))
        if self._faults.spot_seconds is not None and node.market is Market.SPOT:
            self._agenda.add(now + random.expovariate(1 / self._faults.spot_seconds), Notice(node.id, life))

    def is_meant(self, event: Fails | Notice | TakenAway) -> bool:
        """Whether the node is still in the life that the event was drawn for."""
        return self._lives.get(event.node) == event.life and event.node not in self._away

    def gone(self, node: Node, now: float) -> None:
        """It is; one that the scheduler did not add comes back after a while."""
        self._lives[node.id] += 1
        if not node.type:
            self._away[node.id] = node
            self._agenda.add(now + self._faults.repair_seconds, Returns(node.id))

    def returned(self, name: str) -> Node:
        """It is back."""
        return self._away.pop(name)

    def removed(self, name: str) -> None:
        """The scheduler let it go: nothing can happen to it any more."""
        self._lives[name] = self._lives.get(name, 0) + 1
