"""Hears what happens to a job and keeps its scoreboard; passes on what is worth telling."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from orchestrator.facts import Failure, JobState
from orchestrator.gang.commands import Form
from orchestrator.gang.events import Committed, GangEvent, Lost
from orchestrator.gang.states import Outcome
from orchestrator.scoreboard import Scoreboard
from orchestrator.steplog import Entry, EventEntry, Kind
from orchestrator.timeline import Timeline
from workers.protocol import Event, Formed


class Bookkeeper:
    """The supervisor's observer.

    Args:
        board: what is known of the job.
        timeline: closed when the first generation has formed.
        sinks: take each entry of the job's history.
        checkpoint_uri: the job's checkpoint folder.
    """

    def __init__(
        self,
        board: Scoreboard,
        timeline: Timeline,
        sinks: Sequence[Callable[[Entry], None]],
        checkpoint_uri: str | None,
    ) -> None:
        self._board, self._timeline, self._sinks = board, timeline, sinks
        self._checkpoint_uri = checkpoint_uri
        self._formed = False

    def queued(self, workers: tuple[str, ...]) -> None:
        """They wait for a place."""
        self._tell(self._board.queued(workers, time.time()))

    def placed(self, workers: tuple[str, ...]) -> None:
        """They have their places."""
        self._tell(self._board.placed(workers, time.time()))

    def note(self, reason: str) -> None:
        """Something that whoever started the job should know."""
        self._tell((EventEntry(time=time.time(), kind=Kind.NOTE, reason=reason),))

    def ended(self, outcome: Outcome) -> None:
        """The job is over. What has no fault and is not done was stopped by its user."""
        state, failure = JobState.DONE if outcome.done else JobState.CANCELLED, None
        if outcome.fault is not None:
            state, failure = (
                JobState.FAILED,
                Failure(
                    worker=outcome.worker,
                    fault=outcome.fault,
                    message=outcome.message,
                    trace=outcome.trace,
                    step=outcome.step,
                    exit_code=outcome.exit_code,
                ),
            )
        self._tell(self._board.ended(state, time.time(), failure))

    def happened(self, event: Event | GangEvent | Form) -> None:
        """See `orchestrator.supervisor.Observer`."""
        now = time.time()
        if isinstance(event, Event):
            if isinstance(event, Formed) and not self._formed:
                self._formed = True
                self._timeline.mark("workers start")
                self._board.started(self._timeline.phases)
            self._tell(self._board.observe(event, now))
        elif isinstance(event, Form):
            self._tell(self._board.formed(event.membership, now))
        elif isinstance(event, Committed):
            self._tell(self._board.checkpointed(self._checkpoint_uri or "", event.step, now))
        elif isinstance(event, Lost):
            self._tell(self._board.lost(event.worker, now, cause="process_died", reason=event.cause))

    def _tell(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            for sink in self._sinks:
                sink(entry)
