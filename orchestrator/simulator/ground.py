"""The simulated nodes: which there are, what is free on them, what they cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from orchestrator.scheduler.actions import AddNodes
from orchestrator.scheduler.snapshot import Node, NodeState, NodeType


class Ground:
    """Nodes by id, and how many GPUs are free on each."""

    def __init__(self, nodes: tuple[Node, ...], types: tuple[NodeType, ...]) -> None:
        self._nodes = {node.id: node for node in nodes}
        self._free = {node.id: _size(node) for node in nodes}
        self._types = {type.id: type for type in types}
        self._listed: tuple[Node, ...] | None = None
        self._added = 0
        self.size = sum(self._free.values())  # GPUs that are up or draining
        self.price = sum(node.price for node in nodes)  # an hour's, of all nodes, booting ones included
        self.used = 0
        self.going: set[str] = set()

    @property
    def nodes(self) -> tuple[Node, ...]:
        """All, as a snapshot has them."""
        if self._listed is None:
            self._listed = tuple(self._nodes.values())
        return self._listed

    def get(self, name: str) -> Node | None:
        """A node that is there, or was asked for."""
        return self._nodes.get(name)

    def take(self, spots: Mapping[str, int], now: float) -> None:
        """These GPUs are used from now on. There must be so many (AssertionError)."""
        for name, count in spots.items():
            free = self._free[name] - count
            if free < 0 or self._nodes[name].state is NodeState.BOOTING:
                raise AssertionError(f"{count} GPUs of {name} were given out, and {free + count} are free")
            self._free[name] = free
            self.used += count
            if self._nodes[name].idle_since is not None:
                self._set(name, idle_since=None)

    def give(self, spots: Mapping[str, int], now: float) -> None:
        """These GPUs are free again; those of nodes that are gone are gone."""
        for name, count in spots.items():
            self.used -= count
            node = self._nodes.get(name)
            if node is None:
                continue
            self._free[name] += count
            if node.type and self._free[name] == _size(node):
                self._set(name, idle_since=now)

    def order(self, action: AddNodes, now: float) -> list[str]:
        """Nodes that boot; their names."""
        type = self._types[action.type]
        names = []
        for _ in range(action.count):
            self._added += 1
            name = f"{type.id}-{self._added:04}"
            node = Node(
                id=name,
                type=type.id,
                capacity=type.capacity,
                zone=action.zone,
                labels=type.labels,
                market=type.market,
                price=type.price,
                state=NodeState.BOOTING,
                eta=now + type.boot_seconds,
                for_job=action.for_job,
            )
            self._nodes[name], self._free[name] = node, _size(node)
            self.price += node.price
            names.append(name)
        self._listed = None
        return names

    def boots(self, name: str, now: float) -> bool:
        """It is up now, if it is still wanted."""
        if name not in self._nodes:
            return False
        self._set(name, state=NodeState.UP, eta=None, idle_since=now)
        self.size += _size(self._nodes[name])
        return True

    def gang_started(self, job: str) -> None:
        """The nodes that were added for it are kept for nobody any more."""
        for name in [node.id for node in self.nodes if node.for_job == job] if self._types else ():
            self._set(name, for_job=None)

    def goes(self, name: str, eta: float) -> None:
        """It will be gone at that time."""
        self.going.add(name)
        self._set(name, state=NodeState.DRAINING, eta=eta)

    def remove(self, name: str) -> Node:
        """It is gone. Who had something there says so by `give`."""
        node = self._nodes.pop(name)
        del self._free[name]
        self.going.discard(name)
        if node.state is not NodeState.BOOTING:
            self.size -= _size(node)
        self.price -= node.price
        self._listed = None
        return node

    def add(self, node: Node, now: float) -> None:
        """It is back, and empty."""
        self._nodes[node.id] = replace(
            node, state=NodeState.UP, eta=None, idle_since=now if node.type else None, for_job=None
        )
        self._free[node.id] = _size(node)
        self.size += _size(node)
        self.price += node.price
        self._listed = None

    def _set(self, name: str, **fields: object) -> None:
        self._nodes[name] = replace(self._nodes[name], **fields)  # type: ignore[arg-type]
        self._listed = None


def _size(node: Node) -> int:
    return node.capacity.gpu_millis // 1000
