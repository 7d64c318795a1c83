"""What flows while time passes: GPU-seconds that there are, that are held, and what they cost."""

from __future__ import annotations

from orchestrator.simulator.ground import Ground


class Meter:
    """Sums from the first submission on.

    Attributes:
        there, held: GPU-seconds of nodes that are up, and of jobs.
        there_waiting, held_waiting: of these, while somebody waited.
        cost: in the unit of the nodes' prices, which are an hour's.
        samples: (time, GPUs held, GPUs there), where something changed; thinned out.
    """

    def __init__(self, now: float) -> None:
        self._since, self.began = now, now
        self.there = self.held = self.there_waiting = self.held_waiting = self.cost = 0.0
        self.samples: list[tuple[float, int, int]] = []
        self._every = 0.0

    def until(self, now: float, ground: Ground, *, waiting: bool) -> None:
        """Nothing has changed since the last call, until now."""
        seconds = now - self._since
        if seconds <= 0:
            return
        self.there += seconds * ground.size
        self.held += seconds * ground.used
        self.cost += seconds * ground.price / 3600
        if waiting:
            self.there_waiting += seconds * ground.size
            self.held_waiting += seconds * ground.used
        self._since = now
        if not self.samples or now - self.samples[-1][0] >= self._every:
            self.samples.append((now, ground.used, ground.size))
            if len(self.samples) >= 4096:
                self.samples = self.samples[::2]
                self._every = 2 * (now - self.began) / 4096
