"""What workers tell one another with a step's losses, for the boundary that the step leads to."""

from __future__ import annotations

from typing import NamedTuple


class Signals(NamedTuple):
    """Of each, the highest that a worker has sent counts for all.

    Attributes:
        hold: 1 to stop at the boundary and wait, 2 to save first.
        save: 1 to save, whether or not the step's number asks for it.
        busy: 1 if the save before is still on its way.
    """

    hold: float = 0.0
    save: float = 0.0
    busy: float = 0.0


HOLD, SAVE_AND_HOLD = 1.0, 2.0
