"""What happened to jobs.

Numbers count up in the order of commits: who has read all up to N finds the rest after N.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, bindparam, delete, func, insert, select

from orchestrator.records.facts import JobState
from orchestrator.store import tables
from orchestrator.store.records import EventRecord, Note

_ADD = insert(tables.events).returning(tables.events.c.number)

_OLDEST = (
    select(tables.events.c.number, tables.events.c.time, tables.jobs.c.ended_at)
    .join(tables.jobs, tables.jobs.c.id == tables.events.c.job)
    .where(tables.events.c.number > bindparam("the_number"))
    .order_by(tables.events.c.number)
    .limit(bindparam("the_limit"))
)


class Events:
    """The events in one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def after(self, number: int, *, job: str | None = None, limit: int = 1000) -> list[EventRecord]:
        """The first `limit` events with a higher number, in order.

        Args:
            job: the id of the only one to look at.
        """
        rows = select(tables.events).where(tables.events.c.number > number)
        if job is not None:
            rows = rows.where(tables.events.c.job == job)
        found = self._connection.execute(rows.order_by(tables.events.c.number).limit(limit))
        return [_record(row) for row in found]

    def latest(self, job: str, limit: int = 20) -> list[EventRecord]:
        """The last `limit` events of a job, in order."""
        rows = select(tables.events).where(tables.events.c.job == job)
        found = self._connection.execute(rows.order_by(tables.events.c.number.desc()).limit(limit))
        return [_record(row) for row in found][::-1]

    def newest(self) -> int:
        """The highest number that was given; 0 before the first."""
        return self._connection.scalar(select(func.max(tables.events.c.number))) or 0

    def add(
        self,
        job: str,
        note: Note,
        *,
        now: float,
        before: JobState | None = None,
        after: JobState | None = None,
    ) -> int:
        """Write an event; its number.

        Args:
            job: its id.
            before, after: the states, if it is a transition; `Jobs` writes these.
        """
        values = _values(job, note, now, before, after)
        return int(self._connection.execute(_ADD, values).scalar_one())

    def add_all(self, notes: Sequence[tuple[str, Note, float]]) -> None:
        """Write many at once: (job, note, time) each, in order."""
        if notes:
            values = [_values(job, note, time, None, None) for job, note, time in notes]
            self._connection.execute(insert(tables.events), values)

    def purge(self, *, after: int, before: float, limit: int) -> int | None:
        """Remove events of jobs that ended before a time, among the first `limit` with a higher number.

        Returns:
            The last number that was looked at; None if what follows is younger.
        """
        rows = self._connection.execute(_OLDEST, {"the_number": after, "the_limit": limit}).all()
        old = [row for row in rows if row.time < before]
        gone = [row.number for row in old if row.ended_at is not None and row.ended_at < before]
        if gone:
            self._connection.execute(delete(tables.events).where(tables.events.c.number.in_(gone)))
        return rows[-1].number if len(old) == limit else None

    def story(self, job: str) -> str:
        """A job's latest events, a line each, for messages."""
        return "\n".join(_line(event) for event in self.latest(job))


def _line(event: EventRecord) -> str:
    moved = f" {event.before or '-'} -> {event.after}" if event.after else ""
    words = f": {event.reason}" if event.reason else ""
    return f"#{event.number} {event.time:.3f} {event.kind}{moved} ({event.cause}, {event.who}){words}"


def _values(
    job: str, note: Note, now: float, before: JobState | None, after: JobState | None
) -> dict[str, Any]:
    return {
        "job": job,
        "time": now,
        "kind": note.kind,
        "before": before and before.value,
        "after": after and after.value,
        "cause": note.cause,
        "reason": note.reason,
        "who": note.who,
        "data": dict(note.data),
    }


def _record(row: Row[Any]) -> EventRecord:
    values = dict(row._mapping)
    for name in ("before", "after"):
        values[name] = values[name] and JobState(values[name])
    return EventRecord(**values)
