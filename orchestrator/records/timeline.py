"""Where the seconds before the first step go, on the driver's side."""

from __future__ import annotations

import time
from collections.abc import Mapping


def process_began() -> float:
    """When this process was started, in seconds since the epoch: before its first import."""
    import psutil

    return float(psutil.Process().create_time())


class Timeline:
    """Phases end to end, from the moment that the process began.

    Args:
        since: when the phase began that is marked next, in seconds since the epoch.
        phases: seconds by phase so far, where another process has begun it.
    """

    def __init__(self, since: float, phases: Mapping[str, float] | None = None) -> None:
        self.since = since
        self.phases: dict[str, float] = dict(phases or {})

    def mark(self, phase: str) -> None:
        """The phase that ends now: all time since the last mark belongs to it."""
        now = time.time()
        self.phases[phase] = self.phases.get(phase, 0.0) + now - self.since
        self.since = now
