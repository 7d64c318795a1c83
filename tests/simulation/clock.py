"""Virtual time: a queue of actions, and a clock that jumps from one to the next."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush

Action = Callable[[], object]


class Clock:
    """`now` moves only in `step`. Actions of the same moment happen in the order in which they were planned.

    What the job's supervisor reads is `read`: it also counts time in which the whole machine was suspended.
    """

    __slots__ = ("_actions", "_planned", "now", "suspended")

    def __init__(self) -> None:
        self.now = 0.0
        self.suspended = 0.0
        self._actions: list[tuple[float, int, Action]] = []
        self._planned = 0

    def after(self, seconds: float, action: Action) -> None:
        """Plan an action."""
        self._planned += 1
        heappush(self._actions, (self.now + seconds, self._planned, action))

    def step(self, until: float) -> bool:
        """Do the next action, if its time comes by `until`; else it is `until`, and False."""
        if not self._actions or self._actions[0][0] > until:
            self.now = max(self.now, until)
            return False
        self.now, _, action = heappop(self._actions)
        action()
        return True

    def read(self) -> float:
        """The clock on the supervisor's wall."""
        return self.now + self.suspended
