"""What a simulated cluster is made of, what things cost there, and what goes wrong."""

from __future__ import annotations

from dataclasses import dataclass, field

from orchestrator.scheduler.snapshot import Market, Node, NodeType, Queue, Resources


@dataclass(frozen=True, kw_only=True, slots=True)
class Costs:
    """Seconds in which GPUs are held and nothing is learnt.

    Attributes:
        start: from the order to the first step of a job.
        restart: the same of one that was stopped and goes on.
        stop: from the order to save and stop until its GPUs are free.
        resize: for which a job stands still, and after which workers that leave have left.
        checkpoint_every: what a job loses at most when all its workers die at once.
    """

    start: float = 10.0
    restart: float = 30.0
    stop: float = 5.0
    resize: float = 1.0
    checkpoint_every: float = 1800.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Faults:
    """What goes wrong, at random by the seed; seconds, on average where nothing else is said.

    Attributes:
        node_seconds: that a node works until it fails; None: for ever.
        repair_seconds: until it is back, always.
        spot_seconds: that a spot node is there until it is taken away; None: for ever.
        notice_seconds: before it is taken away, in which it is known.
    """

    node_seconds: float | None = None
    repair_seconds: float = 3600.0
    spot_seconds: float | None = None
    notice_seconds: float = 120.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """A cluster, its queues, and its manners.

    Attributes:
        nodes: that are always there, if nothing goes wrong.
        types: of nodes that the scheduler may add.
        round_seconds: what is submitted and what ends is noticed at multiples of this; at once for 0. What
            becomes of orders, and what goes wrong, is noticed at once in any case.
        depth: of the jobs that wait, the scheduler is shown the first so many; all if None.
    """

    nodes: tuple[Node, ...]
    types: tuple[NodeType, ...] = ()
    queues: tuple[Queue, ...]
    costs: Costs = field(default_factory=Costs)
    faults: Faults = field(default_factory=Faults)
    round_seconds: float = 0.0
    depth: int | None = None
    seed: int = 0


def gpus(count: int) -> Resources:
    """So many GPUs; nothing else is counted in a simulation."""
    return Resources(gpu_millis=1000 * count)


def machines(
    count: int, each: int, *, zones: int = 1, spot: int = 0, price: float = 0.0, spot_price: float = 0.0
) -> tuple[Node, ...]:
    """Nodes of so many GPUs each, in zones of about equal size; the last `spot` of them are spot nodes."""
    return tuple(
        Node(
            id=f"node-{number:04}",
            capacity=gpus(each),
            zone=f"zone-{number * zones // count}",
            market=Market.SPOT if number >= count - spot else Market.ON_DEMAND,
            price=spot_price if number >= count - spot else price,
        )
        for number in range(count)
    )
