"""Where the seconds before the first step go, on the driver's side."""

from __future__ import annotations

import time


def process_began() -> float:
    """When this process was started, in seconds since the epoch: before its first import."""
    import psutil

    return float(psutil.Process().create_time())


class Timeline:
    """Phases end to end, from the moment that the process began.

    Args:
        began: seconds since the epoch.
    """

    def __init__(self, began: float) -> None:
        self._since = began
        self.phases: dict[str, float] = {}

    def mark(self, phase: str) -> None:
        """The phase that ends now: all time since the last mark belongs to it."""
        now = time.time()
        self.phases[phase] = self.phases.get(phase, 0.0) + now - self._since
        self._since = now
