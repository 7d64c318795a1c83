"""A save that goes on behind a simulated worker's training, as `workers.training.behind` does it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from tests.simulation.store import Refused
from workers.protocol import Saved, SaveFailing

if TYPE_CHECKING:
    from tests.simulation.worker import SimWorker

PATIENCE_SECONDS = 20.0
_PAUSE_SECONDS, _PAUSE_SECONDS_MAX = 0.5, 30.0


class SaveBehind:
    """The save of one worker that is on its way, if there is one.

    Attributes:
        is_going_on: nobody may begin another one.
        error: what has ended it; raised where its worker's engine looks next.
    """

    def __init__(self, worker: SimWorker) -> None:
        self._worker = worker
        self.is_going_on = False
        self.error: Refused | None = None
        self._number = 0
        self._given_up = True

    def begin(self, seconds: float, report: dict[str, Any]) -> None:
        """Write for so long, then report."""
        self.is_going_on, self._given_up, self.error = True, False, None
        begun = self._worker.world.clock.now
        self._worker.call(partial(self._write, report, begun, _PAUSE_SECONDS), seconds)

    def give_up(self) -> None:
        """Nobody wants it any more; it ends with the request that it is in."""
        self._given_up = True

    def _write(self, report: dict[str, Any], begun: float, pause: float) -> None:
        worker, now = self._worker, self._worker.world.clock.now
        if "writing" in worker.world.armed:
            worker.world.visit("writing", worker)
        if not worker.alive:
            return
        try:
            if not self._given_up:
                worker.world.store.write(worker)
                worker.report(Saved, **report)
        except Refused as error:
            if now - begun <= PATIENCE_SECONDS:
                if pause == _PAUSE_SECONDS:
                    worker.report(SaveFailing, step=report["step"], message=str(error))
                again = partial(self._write, report, begun, min(2 * pause, _PAUSE_SECONDS_MAX))
                worker.call(again, pause)
                return
            self.error = None if self._given_up else error
        self.is_going_on = False
        worker.look()
