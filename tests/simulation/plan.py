"""What a seed stands for: one job, its machines, and all that will happen to it."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

from orchestrator.gang import Policy

#: Moments in a worker's life that trouble can be aimed at.
PHASES = (
    "starting",
    "connecting",
    "agreeing",
    "healing",
    "restoring",
    "computing",
    "exchanging",
    "applied",
    "evaluating",
    "saving",
    "saved",
    "writing",
    "flushing",
    "parked",
    "finished",
)

#: What can happen, and how likely it is beside the others.
FAULTS = {
    "crash": 10,
    "crash pair": 2,
    "crash all": 2,
    "node loss": 3,
    "failed start": 2,
    "freeze": 4,
    "freeze, then thaw": 3,
    "stuck": 3,
    "partition": 2,
    "silent partition": 2,
    "out of reach": 2,
    "cut lifeline": 2,
    "store failure": 3,
    "unreachable store": 3,
    "memory": 2,
    "internal": 1,
    "damaged block": 3,
    "user error": 1,
    "poison": 1,
    "supervisor asleep": 2,
    "supervisor death": 4,
    "machine suspended": 1,
}
WISHES = {
    "resize": 6,
    "move": 6,
    "drain": 4,
    "pause": 3,
    "pause, then resume": 3,
    "resume": 1,
    "stop": 3,
    "interrupt": 1,
}


@dataclass(frozen=True, kw_only=True)
class Trouble:
    """Something that happens to a job.

    Attributes:
        kind: one of `FAULTS` or `WISHES`.
        phase: the moment that it is aimed at; None for a time.
        count: which visit of the phase, of any worker.
        at: seconds after the start, or after that visit.
        seconds: how long it lasts; infinite for ever.
        number: a step, a node, a number of workers: what the kind needs.
    """

    kind: str
    phase: str | None
    count: int
    at: float
    seconds: float
    number: int


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One life, before it is lived. Times in seconds.

    Attributes:
        speeds: seconds of a step of each worker, in the order of their start, beside those of `step_seconds`.
        lag: the longest delay of a message between a worker and the supervisor.
        startup: the usual time from a worker's start until it is ready.
        tick, beat: between two looks of the supervisor, and two signs of life of a worker.
        patience: how long a worker waits for a silent peer.
        save_waits: for the save before, else it is skipped.
        write_seconds: from the copy of a state until its chunks are durable.
    """

    seed: int
    workers: int
    virtual_ranks: int
    steps: int
    nodes: int
    save_every: int | None
    evaluate_every: int | None
    resume_step: int | None
    step_seconds: float
    speeds: tuple[float, ...]
    lag: float
    startup: float
    tick: float
    beat: float
    policy: Policy
    patience: float
    save_waits: bool
    write_seconds: float
    troubles: tuple[Trouble, ...] = field(default=())

    @property
    def kinds(self) -> frozenset[str]:
        """What happens in this life."""
        return frozenset(trouble.kind for trouble in self.troubles)


def plan(seed: int) -> Plan:
    """The life that this seed stands for."""
    rng = Random(seed)
    virtual_ranks = rng.randint(1, 8)
    steps = rng.randint(5, 20)
    save_every = rng.choice((None, 1, 2, 3, 5, 30)) if rng.random() < 0.8 else None
    saves = save_every is not None
    nodes = rng.randint(1, 4)
    patient = rng.random() < 0.03
    return Plan(
        seed=seed,
        workers=rng.randint(1, 5),
        virtual_ranks=virtual_ranks,
        steps=steps,
        nodes=nodes,
        save_every=save_every,
        evaluate_every=rng.choice((None, None, 1, 2, 5)),
        resume_step=rng.randint(1, steps) if saves and rng.random() < 0.15 else None,
        step_seconds=rng.choice((0.02, 0.05, 0.05, 0.1, 0.3)),
        speeds=tuple(rng.choice((1.0, 1.0, 1.0, 1.3, 3.0)) for _ in range(5)),
        lag=rng.choice((0.002, 0.002, 0.01, 0.15)),
        startup=rng.choice((0.1, 0.3, 1.0)),
        tick=rng.choice((0.1, 0.2, 0.3)),
        beat=rng.choice((0.2, 0.4, 0.5)),
        policy=_policy(rng, virtual_ranks, saves, patient),
        patience=300.0 if patient else 20.0,
        save_waits=rng.random() < 0.5,
        write_seconds=rng.choice((0.01, 0.05, 0.3, 2.0)),
        troubles=tuple(_trouble(rng, nodes, steps) for _ in range(_how_many(rng))),
    )


def _policy(rng: Random, virtual_ranks: int, saves: bool, patient: bool) -> Policy:
    if patient:
        return Policy(virtual_ranks=virtual_ranks, saves=saves, damaged_blocks=1)
    return Policy(
        virtual_ranks=virtual_ranks,
        saves=saves,
        gather=rng.choice((0.5, 2.0, 5.0)),
        first_steps=6.0,
        evaluation=6.0,
        starting=4.0,
        alone=5.0,
        retry=rng.choice((0.1, 0.5, 1.0)),
        retry_max=4.0,
        save_patience=20.0,
        drain_margin=rng.choice((0.3, 1.0)),
        balance_every=rng.choice((0.5, 5.0)),
        balance_steps=rng.choice((3, 16)),
        hire_delay=rng.choice((0.0, 0.1, 1.0)),
        damaged_blocks=rng.choice((0, 1, 20)),
    )


def _how_many(rng: Random) -> int:
    return rng.choice((0, 1, 1, 1, 2, 2, 3, 4, 5, 6))


def _trouble(rng: Random, nodes: int, steps: int) -> Trouble:
    kinds = FAULTS if rng.random() < 0.75 else WISHES
    kind = rng.choices(tuple(kinds), weights=tuple(kinds.values()))[0]
    aimed = rng.random() < 0.6
    return Trouble(
        kind=kind,
        phase=rng.choice(PHASES) if aimed else None,
        count=rng.choice((1, 1, 2, 3, 5, 9, 20)),
        at=rng.choice((0.0, 0.0, 0.01, 0.05)) * rng.random() if aimed else 5.0 * rng.random() ** 2,
        seconds=rng.choice((0.3, 1.5, 4.0, 9.0, float("inf"))) * (0.5 + rng.random()),
        number=rng.randint(1, max(nodes, steps)),
    )
