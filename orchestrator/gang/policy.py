"""What a job's owner decided about its life: how many workers, and how patient to be with them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from workers.protocol import Fault

#: Failures of each class that may happen without a committed step in between; None for any number. What the
#: job's own code or input causes has no second try. Losing machines is what the job is made for.
BUDGETS: Mapping[Fault, int | None] = {
    Fault.INPUT: 0,
    Fault.USER: 0,
    Fault.POISON: 0,
    Fault.INTERNAL: 2,
    Fault.MEMORY: 3,
    Fault.LINK: 5,
    Fault.HANG: 6,
    Fault.CRASH: 10,
    Fault.STORAGE: 10,
    Fault.NODE: None,
}


@dataclass(frozen=True, kw_only=True)
class Policy:
    """Fixed for the job's life. Times in seconds.

    Attributes:
        virtual_ranks: V, and so the most workers that can be of use.
        saves: whether the job writes checkpoints.
        budgets: see `BUDGETS`.
        gather: how long the first ready worker waits for the rest, as long as nobody holds a state.
        grace: how long members that lost one another wait for somebody to be declared dead.
        hang: the shortest time without any progress after which somebody must be hanging; or five times
            the job's own step time, if that is longer.
        first_steps: the same before the step time is known.
        evaluation: how long one evaluation may take on a worker; a longer one seen raises it.
        starting: how long a worker that has its place may be silent until it is ready.
        alone: how long a job whose every worker is silent waits before it gives them up: none of them can
            take over, so nothing is won by haste.
        asleep: a supervisor that was not called for so long judges nobody by that time.
        poison_workers, poison_nodes: so many workers that died one after another in one step, or nodes that
            they died on by themselves, are reason to believe that the step is what kills them.
        retry, retry_max: the first wait before a failed store, or a failed start of a worker, is tried again;
            it doubles up to the second.
        hire_delay: how long a new generation is left alone with its first step before replacements are
            started: that takes CPUs, and the survivors want them just then.
        start_failures: workers that may fail to start, one after another, before a job that was never
            trained gives up.
        save_patience: how long a manifest that the store does not take is tried again.
        drain_margin: how long before a node's deadline its workers are let go, replaced or not.
        balance_every: seconds between looks for workers that are slower than others.
        balance_steps: steps of a generation that such a look needs.
        balance_gain: the part of a step that moving virtual ranks must save.
        damaged_blocks: so many blocks of the training set may be left out.
    """

    virtual_ranks: int
    saves: bool = False
    budgets: Mapping[Fault, int | None] = field(default_factory=lambda: BUDGETS)
    gather: float = 60.0
    grace: float = 1.0
    hang: float = 2.0
    first_steps: float = 60.0
    evaluation: float = 60.0
    starting: float = 60.0
    alone: float = 30.0
    asleep: float = 1.0
    poison_workers: int = 3
    poison_nodes: int = 2
    retry: float = 1.0
    retry_max: float = 30.0
    hire_delay: float = 1.0
    start_failures: int = 3
    save_patience: float = 1800.0
    drain_margin: float = 3.0
    balance_every: float = 5.0
    balance_steps: int = 16
    balance_gain: float = 0.15
    damaged_blocks: int = 0
