"""Runs jobs on a Ray cluster: finds or starts their supervisors, tells them, ends them.

Each attempt is dealt with in a thread of its own for as long as it takes, one thing after the other; the
answers of all supervisors are heard in one thread (`listening`), and the cluster is looked at in another
(`watching`). So a sick job, or a Ray that does not answer, keeps nobody else waiting.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Sequence
from typing import Any

import ray

from orchestrator.exit_codes import FAILED
from orchestrator.following import get, supervisors
from orchestrator.gang.events import Interrupted, SaveNow
from orchestrator.job_actor import actor_name
from orchestrator.records.news import News
from orchestrator.service.attempts import Attempt, Attempts, Key
from orchestrator.service.executor import ClusterNode, Missing, NotStarted, Order, Report
from orchestrator.service.launching import Launcher
from orchestrator.service.listening import Listener
from orchestrator.service.logs import JobLogs
from orchestrator.service.telling import first_line
from orchestrator.service.watching import Watch
from workers.errors import AccessError, LockstepError, UnreachableError

_log = logging.getLogger(__name__)

_AGAIN_SECONDS = 1.0  # after something that failed
_END_SECONDS = 30.0  # that one may take to end which nobody knows


class RayExecutor:
    """See `orchestrator.service.executor.Executor`. This process is connected to the cluster.

    Args:
        launcher: begins attempts.
        logs: take what jobs write.
    """

    def __init__(self, launcher: Launcher, logs: JobLogs) -> None:
        self._launcher, self._logs = launcher, logs
        self._attempts = Attempts()
        self._listener = Listener(self._attempts, logs)
        self._watch = Watch(self._attempts, launcher.attempt)

    def begin(self, wake: Callable[[], None]) -> None:
        """Look and listen from now on.

        Args:
            wake: called when there is something that should not wait.
        """
        self._attempts.wake = wake
        self._listener.begin()
        self._watch.begin()

    def close(self) -> None:
        """Ask the cluster nothing more: see `Watch.close`."""
        self._watch.close()
        self._listener.close()

    # --- what the loop calls ---

    def nodes(self) -> Sequence[ClusterNode] | None:
        """See `Executor.nodes`."""
        return self._watch.nodes()

    def carry_out(self, order: Order) -> None:
        """See `Executor.carry_out`."""
        attempt = self._attempts.order(order)
        if attempt is not None:
            _beside(self._drive, attempt)

    def dismiss(self, job: str, attempt: int) -> None:
        """See `Executor.dismiss`."""
        key = (job, attempt)
        ours, known = self._attempts.begin_end(key)
        if ours:
            _beside(self._end, key, known)

    def save(self, job: str, attempt: int) -> None:
        """See `Executor.save`."""
        known = self._attempts.get((job, attempt))
        if known is not None and known.handle is not None:
            known.handle.wish.remote(SaveNow())

    def present(self) -> Collection[Key] | None:
        """See `Executor.present`."""
        return self._attempts.present()

    def reports(self) -> list[Report]:
        """See `Executor.reports`."""
        return self._attempts.reports()

    # --- one attempt, in a thread of its own ---

    def _drive(self, attempt: Attempt) -> None:
        while True:
            order = attempt.order
            try:
                self._meet(attempt, order)
            except Exception as error:  # Ray, or the network: the order stands
                _log.warning("%s, attempt %d: %s", order.name, order.attempt, first_line(error))
                time.sleep(_AGAIN_SECONDS)
                continue
            if self._attempts.is_done(attempt, order):
                return

    def _meet(self, attempt: Attempt, order: Order) -> None:
        """See to one order."""
        if attempt.over:
            return
        if attempt.handle is None:
            name = actor_name(order.name, self._launcher.tag(order.job, order.attempt))
            attempt.handle = get(name) or self._launch(attempt, order)
            if attempt.handle is None:
                return
            self._logs.rewind(order.job, attempt.heard)
            self._listener.follow(attempt)
        attempt.tell(attempt.order)

    def _launch(self, attempt: Attempt, order: Order) -> Any | None:
        if not order.begin or order.stop:
            missing = Missing(job=order.job, attempt=order.attempt, why="its supervisor is gone")
            self._attempts.lose(attempt, missing)
            return None
        try:
            begin = self._launcher.prepare(order)
        except LockstepError as error:
            passing = isinstance(error, UnreachableError) and not isinstance(error, AccessError)
            self._not_started(attempt, str(error), error.exit_code, passing)
            return None
        except Exception as error:
            _log.exception("%s could not be prepared", order.name)
            message = f"{type(error).__name__}: {first_line(error)}"
            self._not_started(attempt, message, FAILED, passing=True)
            return None
        attempt.was_told(order)
        return begin()  # where this fails, nobody knows whether there is one now: it is looked for again

    def _not_started(self, attempt: Attempt, message: str, exit_code: int, passing: bool) -> None:
        order = attempt.order
        report = NotStarted(
            job=order.job, attempt=order.attempt, message=message, exit_code=exit_code, passing=passing
        )
        self._attempts.lose(attempt, report)

    def _end(self, key: Key, attempt: Attempt | None) -> None:
        """Let a supervisor go, and all that it still has."""
        try:
            handle = attempt.handle if attempt is not None else None
            if handle is None:
                name = next((name for name in supervisors() if self._launcher.attempt(name) == key), None)
                handle = get(name) if name is not None else None
            if handle is not None:
                _end_workers(handle)
                ray.kill(handle)
        except Exception as error:  # it is tried again as long as it is there
            _log.warning("%s cannot be dismissed: %s", key, first_line(error))
            time.sleep(_AGAIN_SECONDS)
        self._attempts.ended(key)


def _end_workers(handle: Any) -> None:
    """Have a supervisor that is still at work end its workers."""
    until = time.monotonic() + _END_SECONDS
    asked = False
    while time.monotonic() < until:
        news: News = ray.get(handle.follow.remote("", 0, 1.0 if asked else 0.0), timeout=_END_SECONDS)
        if news.outcome is not None:
            return
        if not asked:
            handle.wish.remote(Interrupted())
            asked = True


def _beside(work: Callable[..., None], *arguments: object) -> None:
    """In a thread that nobody waits for, also not at the end."""
    threading.Thread(target=work, args=arguments, daemon=True).start()
