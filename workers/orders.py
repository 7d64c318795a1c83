"""What a worker's supervisor has told it, as the engine wants to know it. Told from any thread."""

from __future__ import annotations

import threading
from collections.abc import Callable

from workers.numerics.exchange import PeerLost
from workers.protocol import CheckpointCommitted, Hold, Membership, Order, SaveWanted


class Orders:
    """The newest of each kind of order. A higher generation ends all lower ones."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._membership: Membership | None = None
        self._hold = Hold(generation=-1)
        self._committed, self._save_wanted = 0, -1
        self._ending: Callable[[], None] | None = None

    def apply(self, order: Order) -> None:
        """Take an order; what is out of date changes nothing."""
        ending = None
        with self._changed:
            if isinstance(order, Membership):
                self._committed = max(self._committed, order.committed_step)
                if self._membership is None or order.generation > self._membership.generation:
                    self._membership, ending, self._ending = order, self._ending, None
            elif isinstance(order, Hold):
                self._hold = order
            elif isinstance(order, CheckpointCommitted):
                self._committed = max(self._committed, order.step)
            elif isinstance(order, SaveWanted):
                self._save_wanted = max(self._save_wanted, order.step)
            self._changed.notify_all()
        if ending is not None:
            ending()

    def next_membership(self, after: int) -> Membership:
        """Wait for a generation higher than `after`."""
        with self._changed:
            self._changed.wait_for(lambda: self.superseded(after))
            if self._membership is None:
                raise RuntimeError("a membership that was there is gone")
            return self._membership

    def newest(self) -> tuple[Membership | None, Hold | None]:
        """What was told last, for a supervisor that begins anew."""
        return self._membership, self._hold if self._hold.generation >= 0 else None

    def superseded(self, generation: int) -> bool:
        """Whether a higher generation is known."""
        return self._membership is not None and self._membership.generation > generation

    def when_superseded(self, generation: int, end: Callable[[], None]) -> None:
        """Call `end` once, from whatever thread, as soon as a higher generation is known; maybe at once."""
        with self._changed:
            self._ending = end
            if not self.superseded(generation):
                return
            self._ending = None
        end()

    def hold(self, generation: int) -> Hold | None:
        """The wish to stop this generation, if there is one."""
        hold = self._hold
        return hold if hold.generation == generation else None

    def wait_for(self, condition: Callable[[], bool], generation: int, timeout: float | None = None) -> None:
        """Wait until `condition` holds, or for `timeout` seconds; `wake` has it looked at again.

        Raises:
            PeerLost: a higher generation is known.
        """
        with self._changed:
            self._changed.wait_for(lambda: condition() or self.superseded(generation), timeout)
            if not condition() and self.superseded(generation):
                raise PeerLost("a newer generation")

    def wake(self) -> None:
        """Something that a condition of `wait_for` depends on has changed."""
        with self._changed:
            self._changed.notify_all()

    def wants_save(self, last: int) -> bool:
        """Whether a checkpoint later than that of step `last` is wanted."""
        return self._save_wanted >= last

    def is_committed(self, step: int) -> bool:
        """Whether the checkpoint of `step`, or a later one, is committed."""
        return self._committed >= step
