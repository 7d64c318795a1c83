"""What happens to a job, and when: drawn from a seed."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from random import Random

STEPS = 200
EVENTS_MIN, EVENTS_MAX = 5, 8
_FIRST, _LAST = 5, STEPS - 15
WORKERS = (3, 4)


class Kind(StrEnum):
    """What can happen."""

    KILL = "kill"
    KILL_FIRST = "kill rank 0"
    KILL_TWO = "kill two at once"
    KILL_ALL = "kill all"
    FREEZE = "freeze"
    STUTTER = "freeze, and thaw before anybody minds"
    RESIZE = "resize"
    DRAIN = "drain a node"
    PAUSE = "pause, and resume"


_WEIGHTS = {
    Kind.KILL: 5,
    Kind.KILL_FIRST: 2,
    Kind.KILL_TWO: 3,
    Kind.KILL_ALL: 1,
    Kind.FREEZE: 2,
    Kind.STUTTER: 1,
    Kind.RESIZE: 3,
    Kind.DRAIN: 2,
    Kind.PAUSE: 1,
}


@dataclass(frozen=True, kw_only=True)
class Happening:
    """One thing that happens `delay` seconds after `step` is committed; `number` chooses among choices."""

    step: int
    delay: float
    kind: Kind
    number: int


@dataclass(frozen=True, kw_only=True)
class Script:
    """One run: how many workers it begins with, and all that happens to it, in order."""

    seed: int
    workers: int
    happenings: tuple[Happening, ...]


def draw(seed: int) -> Script:
    """The script of a seed."""
    random = Random(seed)
    count = random.randint(EVENTS_MIN, EVENTS_MAX)
    steps = sorted(random.sample(range(_FIRST, _LAST), count))
    happenings = [
        Happening(
            step=step,
            delay=random.random() * 0.05,
            kind=random.choices(list(_WEIGHTS), list(_WEIGHTS.values()))[0],
            number=random.randrange(1000),
        )
        for step in steps
    ]
    return Script(seed=seed, workers=random.choice(WORKERS), happenings=tuple(happenings))
