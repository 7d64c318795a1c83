"""Who dies, and when: drawn from a seed."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from random import Random

from workers.checkpoint.policy import Retention

STEPS, EVERY = 12, 2
_WORKERS = (1, 2, 3, 4)


class Victim(StrEnum):
    """Who can be killed."""

    WORKER = "one worker"
    WORKERS = "all workers at once"
    SUPERVISOR = "the supervisor, and all workers with it"


class Moment(StrEnum):
    """When, beside an operation."""

    BEFORE = "before"
    MIDST = "in the midst of"
    AFTER = "after"
    SOON = "some milliseconds after"


#: Operations up to which one may die: of a worker all that it asks of the store, each copy, and each report
#: of a save; of the supervisor all that it asks of the store.
_LAST = {Victim.WORKER: 24, Victim.WORKERS: 24, Victim.SUPERVISOR: 90}
_WEIGHTS = {Victim.WORKER: 4, Victim.WORKERS: 2, Victim.SUPERVISOR: 4}


@dataclass(frozen=True, kw_only=True)
class Case:
    """One job.

    Attributes:
        operation: the victim's so-manieth one is its last.
        soon_seconds: until death, where the moment is `SOON`.
        workers: of the job, and of the one that goes on where nobody is left.
        waits: a save that is due waits for the one before.
        keep: what stays.
    """

    seed: int
    victim: Victim
    operation: int
    moment: Moment
    soon_seconds: float
    workers: tuple[int, int]
    waits: bool
    keep: Retention

    def __str__(self) -> str:
        what = f"{self.victim}, {self.moment} operation {self.operation}"
        return f"{what}; {self.workers[0]} workers, then {self.workers[1]}; {self.keep}"


def draw(seed: int) -> Case:
    """The case of a seed."""
    random = Random(seed)
    victim = random.choices(list(_WEIGHTS), list(_WEIGHTS.values()))[0]
    return Case(
        seed=seed,
        victim=victim,
        operation=random.randint(1, _LAST[victim]),
        moment=random.choice(list(Moment)),
        soon_seconds=0.03 * random.random(),
        workers=(random.choice(_WORKERS[1:]), random.choice(_WORKERS)),
        waits=random.random() < 0.7,
        keep=Retention(last=random.choice((1, 2, 3))),
    )
