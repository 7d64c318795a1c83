"""Hears the supervisors of all attempts, in one thread."""

from __future__ import annotations

import logging
import threading
import time
from concurrent.futures import Future
from queue import Empty, SimpleQueue
from typing import Any

from ray.exceptions import ActorDiedError, RayError

from orchestrator.records.news import News
from orchestrator.records.steplog import LogEntry
from orchestrator.service.attempts import Attempt, Attempts
from orchestrator.service.executor import Missing
from orchestrator.service.logs import JobLogs
from orchestrator.service.telling import first_line, report_of

_log = logging.getLogger(__name__)

_FOLLOW_SECONDS = 2.0  # that a supervisor waits for news
_BETWEEN_SECONDS = 0.4  # from its answer to the next question
_CLOSE_SECONDS = 30.0
_REPEAT_SECONDS = 5.0  # until an order is repeated that was not heeded


class Listener:
    """Asks each supervisor for news, again and again.

    Args:
        attempts: where the reports go.
        logs: take what jobs write.
    """

    def __init__(self, attempts: Attempts, logs: JobLogs) -> None:
        self._attempts, self._logs = attempts, logs
        self._answers: SimpleQueue[tuple[Attempt, Future[Any]] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._listen, name="listen", daemon=True)

    def begin(self) -> None:
        """Listen from now on."""
        self._thread.start()

    def close(self) -> None:
        """Ask no more: this process is about to leave the cluster."""
        self._answers.put(None)
        self._thread.join(_CLOSE_SECONDS)

    def follow(self, attempt: Attempt) -> None:
        """Ask its supervisor, from any thread; after each answer it is asked again until all is over."""
        known = attempt.heard
        ref = attempt.handle.follow.remote(known.incarnation, known.position, _FOLLOW_SECONDS)
        ref.future().add_done_callback(lambda answer: self._answers.put((attempt, answer)))

    def _listen(self) -> None:
        later: list[tuple[float, Attempt]] = []
        while True:
            wait = max(0.0, later[0][0] - time.monotonic()) if later else None
            try:
                heard = self._answers.get(timeout=wait)
            except Empty:
                self.follow(later.pop(0)[1])
                continue
            if heard is None:
                return
            attempt, answer = heard
            try:
                goes_on = self._take(attempt, answer)
            except Exception:
                _log.exception("an answer of %s could not be read", attempt.order.name)
                goes_on = not attempt.over
            if goes_on:
                later.append((time.monotonic() + _BETWEEN_SECONDS, attempt))

    def _take(self, attempt: Attempt, answer: Future[Any]) -> bool:
        """An answer of a supervisor; whether there will be others."""
        order = attempt.order
        try:
            news: News = answer.result()
        except ActorDiedError as error:
            why = f"its supervisor died: {first_line(error)}"
            self._attempts.lose(attempt, Missing(job=order.job, attempt=order.attempt, why=why))
            return False
        except RayError:  # it is being started again, or out of reach
            return not attempt.over
        if news.incarnation != attempt.incarnation:
            if attempt.incarnation:  # a new one knows nothing of what the other was told
                attempt.told, attempt.stopped = -1, False
            attempt.incarnation = news.incarnation
        report = report_of(order, news)
        lines = [entry for entry in news.entries if isinstance(entry, LogEntry)]
        self._logs.append(report.job, lines, report.heard)
        self._attempts.hear(attempt, report)
        if attempt.over:
            return False
        if news.heeded < attempt.told and time.monotonic() - attempt.told_at > _REPEAT_SECONDS:
            attempt.told = -1
        if not attempt.busy:
            attempt.tell(attempt.order)
        return True
