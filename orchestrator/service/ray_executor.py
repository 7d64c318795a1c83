"""Runs jobs on a Ray cluster: finds or starts their supervisors, tells them, hears them.

Each attempt is dealt with in a thread of its own for as long as it takes, one thing after the other; answers
of all supervisors are heard in one thread, and the cluster is looked at in another. So a sick job, or a Ray
that does not answer, keeps nobody else waiting.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Any

import ray
from ray.exceptions import ActorDiedError, RayError

from orchestrator.exit_codes import FAILED
from orchestrator.following import get, supervisors
from orchestrator.gang.events import Interrupted, Resize, SaveNow, Stop
from orchestrator.job_actor import actor_name
from orchestrator.records.news import News
from orchestrator.records.steplog import LogEntry
from orchestrator.service.executor import (
    ClusterNode,
    Heard,
    Missing,
    NotStarted,
    Order,
    Over,
    Report,
    Seen,
)
from orchestrator.service.launching import Launcher
from orchestrator.service.logs import JobLogs
from orchestrator.service.telling import node_of, report_of, stop_seconds
from workers.errors import AccessError, LockstepError, UnreachableError

_log = logging.getLogger(__name__)

_LOOK_SECONDS = 1.0  # between looks at the cluster
_STALE_SECONDS = 15.0  # a cluster that was last seen so long ago does not answer
_FOLLOW_SECONDS = 2.0  # that a supervisor waits for news
_BETWEEN_SECONDS = 0.4  # from its answer to the next question
_AGAIN_SECONDS = 1.0  # after something that failed
_REPEAT_SECONDS = 5.0  # until an order is repeated that was not heeded
_END_SECONDS = 30.0  # that one may take to end which nobody knows


@dataclass
class _Run:
    """One attempt."""

    order: Order
    busy: bool = False
    handle: Any = None
    incarnation: str = ""
    heard: Heard = field(default_factory=Heard)
    told: int = -1  # the number of the last order that it was sent
    told_at: float = 0.0
    stopped: bool = False  # it was told to stop
    trains: bool = False
    over: bool = False


class RayExecutor:
    """See `orchestrator.service.executor.Executor`. This process is connected to the cluster.

    Args:
        launcher: begins attempts.
        logs: take what jobs write.
    """

    def __init__(self, launcher: Launcher, logs: JobLogs) -> None:
        self._launcher, self._logs = launcher, logs
        self._wake: Callable[[], None] = lambda: None
        self._lock = threading.Lock()
        self._runs: dict[tuple[str, int], _Run] = {}
        self._ending: set[tuple[str, int]] = set()
        self._reports: list[Report] = []
        self._seen: tuple[float, tuple[ClusterNode, ...]] | None = None
        self._there: set[tuple[str, int]] | None = None
        self._closed = threading.Event()
        self._watcher = threading.Thread(target=self._watch_cluster, name="watch", daemon=True)
        self._answers: SimpleQueue[tuple[_Run, Future[Any]]] = SimpleQueue()

    def begin(self, wake: Callable[[], None]) -> None:
        """Look and listen from now on.

        Args:
            wake: called when there is something that should not wait.
        """
        self._wake = wake
        threading.Thread(target=self._listen, name="listen", daemon=True).start()
        self._watcher.start()

    def close(self) -> None:
        """Do not look at the cluster any more: this process is about to leave it, and to look would join it
        again."""
        self._closed.set()
        self._watcher.join(_END_SECONDS)

    # --- what the loop calls ---

    def nodes(self) -> Sequence[ClusterNode] | None:
        """See `Executor.nodes`."""
        seen = self._seen
        if seen is None or time.monotonic() - seen[0] > _STALE_SECONDS:
            return None
        return seen[1]

    def carry_out(self, order: Order) -> None:
        """See `Executor.carry_out`."""
        with self._lock:
            run = self._runs.setdefault((order.job, order.attempt), _Run(order, heard=order.heard))
            run.order = order
            idle, run.busy = not run.busy, True
        if idle:
            _beside(self._drive, run)

    def dismiss(self, job: str, attempt: int) -> None:
        """See `Executor.dismiss`."""
        key = (job, attempt)
        with self._lock:
            if key in self._ending:
                return
            self._ending.add(key)
            run = self._runs.pop(key, None)
        _beside(self._end, key, run)

    def save(self, job: str, attempt: int) -> None:
        """See `Executor.save`."""
        with self._lock:
            run = self._runs.get((job, attempt))
        if run is not None and run.handle is not None:
            run.handle.wish.remote(SaveNow())

    def present(self) -> Collection[tuple[str, int]] | None:
        """See `Executor.present`."""
        with self._lock:
            return None if self._there is None else (self._there | self._runs.keys()) - self._ending

    def reports(self) -> list[Report]:
        """See `Executor.reports`."""
        with self._lock:
            reports, self._reports = self._reports, []
        return reports

    # --- one attempt, in a thread of its own ---

    def _drive(self, run: _Run) -> None:
        while True:
            order = run.order
            try:
                done = self._meet(run, order)
            except Exception as error:  # Ray, or the network: the order stands
                _log.warning("%s, attempt %d: %s", order.name, order.attempt, _first_line(error))
                done = False
            if not done:
                time.sleep(_AGAIN_SECONDS)
            with self._lock:
                if done and run.order is order:
                    run.busy = False
                    return

    def _meet(self, run: _Run, order: Order) -> bool:
        """See to one order; whether there is nothing left to do about it."""
        if run.over:
            return True
        if run.handle is None:
            name = actor_name(order.name, self._launcher.tag(order.job, order.attempt))
            run.handle = get(name) or self._launch(run, order)
            if run.handle is None:
                return True
            self._logs.rewind(order.job, run.heard)
            self._follow(run)
        self._send(run, run.order)
        return True

    def _launch(self, run: _Run, order: Order) -> Any | None:
        if not order.begin or order.stop:
            self._lose(run, Missing(job=order.job, attempt=order.attempt, why="its supervisor is gone"))
            return None
        try:
            begin = self._launcher.prepare(order)
        except LockstepError as error:
            passing = isinstance(error, UnreachableError) and not isinstance(error, AccessError)
            self._not_started(run, str(error), error.exit_code, passing)
            return None
        except Exception as error:
            _log.exception("%s could not be prepared", order.name)
            self._not_started(run, f"{type(error).__name__}: {_first_line(error)}", FAILED, passing=True)
            return None
        run.told, run.told_at = order.number, time.monotonic()
        return begin()  # where this fails, nobody knows whether there is one now: it is looked for again

    def _send(self, run: _Run, order: Order) -> None:
        if order.stop:
            if not run.stopped:
                run.handle.wish.remote(Stop(seconds=stop_seconds(order)))
                run.stopped = True
        elif order.number > run.told and order.places:
            workers = sum(order.places.values())
            run.handle.wish.remote(Resize(workers=workers, places=dict(order.places), number=order.number))
            run.told, run.told_at = order.number, time.monotonic()

    def _not_started(self, run: _Run, message: str, exit_code: int, passing: bool) -> None:
        order = run.order
        self._lose(
            run,
            NotStarted(
                job=order.job,
                attempt=order.attempt,
                message=message,
                exit_code=exit_code,
                passing=passing,
            ),
        )

    def _lose(self, run: _Run, report: Missing | NotStarted) -> None:
        """There is nothing of an attempt."""
        with self._lock:
            self._runs.pop((report.job, report.attempt), None)
            run.over = True
            self._reports.append(report)
        self._wake()

    def _end(self, key: tuple[str, int], run: _Run | None) -> None:
        """Let a supervisor go, and all that it still has."""
        try:
            handle = run.handle if run is not None and run.handle is not None else None
            if handle is None:
                name = next((name for name in supervisors() if self._launcher.attempt(name) == key), None)
                handle = get(name) if name is not None else None
            if handle is not None:
                _end_workers(handle)
                ray.kill(handle)
        except Exception as error:  # it is tried again as long as it is there
            _log.warning("%s cannot be dismissed: %s", key, _first_line(error))
            time.sleep(_AGAIN_SECONDS)
        with self._lock:
            self._ending.discard(key)
            if self._there is not None:
                self._there.discard(key)

    # --- what is heard, in one thread ---

    def _follow(self, run: _Run) -> None:
        known = run.heard
        ref = run.handle.follow.remote(known.incarnation, known.position, _FOLLOW_SECONDS)
        ref.future().add_done_callback(lambda answer: self._answers.put((run, answer)))

    def _listen(self) -> None:
        later: list[tuple[float, _Run]] = []
        while True:
            wait = max(0.0, later[0][0] - time.monotonic()) if later else None
            try:
                run, answer = self._answers.get(timeout=wait)
            except Empty:
                self._follow(later.pop(0)[1])
                continue
            try:
                goes_on = self._take(run, answer)
            except Exception:
                _log.exception("an answer of %s could not be read", run.order.name)
                goes_on = not run.over
            if goes_on:
                later.append((time.monotonic() + _BETWEEN_SECONDS, run))

    def _take(self, run: _Run, answer: Future[Any]) -> bool:
        """An answer of a supervisor; whether there will be others."""
        order = run.order
        try:
            news: News = answer.result()
        except ActorDiedError as error:
            why = f"its supervisor died: {_first_line(error)}"
            self._lose(run, Missing(job=order.job, attempt=order.attempt, why=why))
            return False
        except RayError:  # it is being started again, or out of reach
            return not run.over
        if news.incarnation != run.incarnation:
            if run.incarnation:  # a new one knows nothing of what the other was told
                run.told, run.stopped = -1, False
            run.incarnation = news.incarnation
        with self._lock:
            self._report(run, news)
        if run.over:
            self._wake()
            return False
        overdue = news.heeded < run.told and time.monotonic() - run.told_at > _REPEAT_SECONDS
        if overdue:
            run.told = -1
        if not run.busy:
            self._send(run, run.order)
        return True

    def _report(self, run: _Run, news: News) -> None:
        report = report_of(run.order, news)
        lines = [entry for entry in news.entries if isinstance(entry, LogEntry)]
        self._logs.append(report.job, lines, report.heard)
        self._reports.append(report)
        run.heard, run.over = report.heard, isinstance(report, Over)
        if isinstance(report, Seen) and report.running != run.trains:
            run.trains = report.running
            self._wake()

    # --- the cluster, in one thread ---

    def _watch_cluster(self) -> None:
        while not self._closed.is_set():
            try:
                nodes = tuple(node_of(facts) for facts in ray.nodes() if facts["Alive"])
                there = {key for name in supervisors() if (key := self._launcher.attempt(name)) is not None}
            except Exception as error:
                _log.warning("the cluster does not answer: %s", _first_line(error))
            else:
                is_news = self._seen is None or self._seen[1] != nodes
                self._seen = (time.monotonic(), nodes)
                with self._lock:
                    self._there = there - self._ending
                if is_news:
                    self._wake()
            self._closed.wait(_LOOK_SECONDS)


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


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
