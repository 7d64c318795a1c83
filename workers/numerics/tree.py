"""The fixed binary tree over V virtual ranks: which partial sums a worker holds, how they fold to the root.

Addition of floats is not associative, so the order of summation must not depend on how many workers share
the leaves. The tree is that of the leaves 0..V-1, padded to a power of two; where padding leaves a node with
one child, the node is that child. `Node(level, place)` covers the 2**level leaves from place * 2**level on.

Pure: no torch, no clock, no I/O. The same fold serves tensors, floats and tests that sum strings.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple, TypeVar

T = TypeVar("T")


class Node(NamedTuple):
    """A node of the tree by its height above the leaves and its place among the nodes of that height."""

    level: int
    place: int

    @property
    def parent(self) -> Node:
        """The node one level up."""
        return Node(self.level + 1, self.place // 2)

    @property
    def sibling(self) -> Node:
        """The other child of the parent; it may lie wholly in the padding."""
        return Node(self.level, self.place ^ 1)

    def is_empty(self, leaves: int) -> bool:
        """Whether all leaves below are padding."""
        return self.place << self.level >= leaves


def height(leaves: int) -> int:
    """Levels above the leaves: the root is `Node(height, 0)`."""
    return (leaves - 1).bit_length()


def equal_loads(leaves: int, workers: int) -> tuple[int, ...]:
    """Leaves by worker, as equal as possible; the first ones get what is left over."""
    return tuple(leaves // workers + (worker < leaves % workers) for worker in range(workers))


def dyadic_assignment(
    leaves: int, workers: int, loads: Sequence[int] | None = None
) -> tuple[tuple[int, ...], ...]:
    """Which leaves each worker gets: so many as `loads` says, in complete subtrees.

    Each load is split into powers of two, and all pieces are laid end to end, largest first. So every piece
    starts at a multiple of its own size and is a node of the tree, and a load of L costs popcount(L) partial
    sums.

    Args:
        leaves: V.
        workers: how many there are.
        loads: leaves by worker, each at least 1; as equal as possible if left out.

    Raises:
        ValueError: there are more workers than leaves, or none; or the loads are not those of these workers.
    """
    if not 1 <= workers <= leaves:
        raise ValueError(f"{leaves} leaves cannot be shared by {workers} workers")
    loads = equal_loads(leaves, workers) if loads is None else loads
    if len(loads) != workers or sum(loads) != leaves or min(loads) < 1:
        raise ValueError(f"{leaves} leaves and {workers} workers do not go with loads of {list(loads)}")
    pieces = sorted(
        (
            (1 << bit, worker)
            for worker, load in enumerate(loads)
            for bit in range(load.bit_length())
            if load >> bit & 1
        ),
        key=lambda piece: (-piece[0], piece[1]),
    )
    hosted: list[list[int]] = [[] for _ in range(workers)]
    start = 0
    for size, worker in pieces:
        hosted[worker].extend(range(start, start + size))
        start += size
    return tuple(tuple(leaf) for leaf in hosted)


def partial_nodes(hosted: Iterable[int], leaves: int) -> tuple[Node, ...]:
    """The fewest nodes that cover exactly these leaves, left to right: what one worker can fold alone."""
    remaining = {Node(0, leaf) for leaf in hosted}
    covered: list[Node] = []
    for _ in range(height(leaves)):
        above = {
            node.parent for node in remaining if node.sibling in remaining or node.sibling.is_empty(leaves)
        }
        covered += [node for node in remaining if node.parent not in above]
        remaining = above
    return tuple(sorted(covered + list(remaining), key=lambda node: node.place << node.level))


def fold(partials: Mapping[Node, T], leaves: int, add: Callable[[T, T], T]) -> T:
    """Sum partials that together cover every leaf once, in tree order. `add(left, right)` may reuse `left`.

    Raises:
        ValueError: some leaf is covered twice, or not at all.
    """
    values = dict(partials)
    for level in range(height(leaves)):
        for node in sorted(node for node in values if node.level == level):
            if node in values:
                _lift(values, node, leaves, add)
    root = Node(height(leaves), 0)
    if set(values) != {root}:
        raise ValueError(f"partials {sorted(partials)} do not cover {leaves} leaves exactly once")
    return values[root]


def fold_leaves(values: Sequence[T], add: Callable[[T, T], T]) -> T:
    """Sum one value per leaf in tree order."""
    return fold({Node(0, leaf): value for leaf, value in enumerate(values)}, len(values), add)


def _lift(values: dict[Node, T], node: Node, leaves: int, add: Callable[[T, T], T]) -> None:
    """Replace a node and its sibling by their parent; a lone node whose sibling is padding moves up."""
    left, right = sorted((node, node.sibling))
    if right.is_empty(leaves):
        values[node.parent] = values.pop(left)
    elif left in values and right in values:
        values[node.parent] = add(values.pop(left), values.pop(right))
    else:
        raise ValueError(f"{node} has no sibling among the partials")


class Path(NamedTuple):
    """How far a new leaf folds: it absorbs these held nodes, nearest first, and becomes `node`."""

    absorbed: tuple[Node, ...]
    node: Node


def merges(leaf: int, hosted: Iterable[int], leaves: int) -> Path:
    """The path of a leaf when all hosted leaves before it are held, folded as far as they go."""
    final = set(partial_nodes(hosted, leaves))
    node, absorbed = Node(0, leaf), []
    while node not in final:
        if not node.sibling.is_empty(leaves):
            if node.sibling > node:
                break  # the right half is still to come
            absorbed.append(node.sibling)
        node = node.parent
    return Path(tuple(absorbed), node)


class Accumulator(dict[Node, T]):
    """Folds leaves as they come, like a binary counter: at most log2(V) + popcount values are alive.

    Holds the sums that could not be folded any further yet. Leaves must be pushed in ascending order.
    """

    def __init__(self, hosted: Sequence[int], leaves: int, add: Callable[[T, T], T]) -> None:
        super().__init__()
        self._paths = {leaf: merges(leaf, hosted, leaves) for leaf in hosted}
        self._add = add
        self._lent: int | None = None

    def lend(self, leaf: int) -> T | None:
        """The leaf that this leaf is a right sibling of, for a caller who adds the two in another way.

        None if there is none. What is then pushed, or used, for `leaf` must be the sum of both.
        """
        absorbed = self._paths[leaf].absorbed
        if not absorbed or absorbed[0].level > 0:
            return None
        self._lent = leaf
        return self.pop(absorbed[0])

    def path(self, leaf: int) -> Path:
        """What this leaf's value is still to be added to."""
        path = self._paths[leaf]
        return Path(path.absorbed[1:], path.node) if self._lent == leaf else path

    def push(self, leaf: int, value: T) -> None:
        """Add one leaf, then fold as far as this worker can. `add(left, right)` may reuse both."""
        absorbed, node = self.path(leaf)
        for held in absorbed:
            value = self._add(self.pop(held), value)
        self[node] = value
