"""A model whose state is a number: the state after a step is a hash of the one before and of the step."""

from __future__ import annotations

_MASK = (1 << 61) - 1

#: The state that every job begins with.
INITIAL = 0x5EED
#: A checkpoint of it is cut into so many chunks.
CHUNKS = 6


def advance(state: int, step: int) -> int:
    """The state after step number `step`, counted from 1."""
    return (state * 6364136223846793005 + step * 1442695040888963407 + 11) & _MASK


def history(steps: int) -> list[int]:
    """The right state after 0, 1, ... steps."""
    states = [INITIAL]
    for step in range(1, steps + 1):
        states.append(advance(states[-1], step))
    return states
