"""Jobs: handed in, looked up, moved from state to state. Each change is written with its event."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Unpack

from sqlalchemy import Connection, Select, select

from orchestrator.records.facts import JobState
from orchestrator.store import job_rows, tables
from orchestrator.store import job_statements as do
from orchestrator.store.allocations import Allocations
from orchestrator.store.events import Events
from orchestrator.store.queues import Queues
from orchestrator.store.records import Changes, JobRecord, Note, Submission
from orchestrator.store.states import ENDED, HOLDING, LEGAL, Intent, check
from orchestrator.store.submitting import first_record, refuse_another_job, refuse_taken_name
from orchestrator.store.wishes import wish
from workers.errors import InputError
from workers.patterns import nearest

_NAMES_MAX = 1000  # how many of the newest jobs a misspelt name is compared with
_JOBS = tables.jobs.c


class Stale(Exception):
    """The job has changed since its record was read: read it again, and decide again."""


class Jobs:
    """The jobs in one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._events = Events(connection)

    # --- for everybody ---

    def get(self, ref: str) -> JobRecord:
        """A job by its id, or by its name: of those of one name the live one, else the newest.

        Raises:
            InputError: there is none; the nearest name is told.
        """
        found = self._first(do.BY_ID, the_id=ref) or self._live(ref)
        found = found or self._first(do.NEWEST_OF_NAME, the_name=ref)
        if found is not None:
            return found
        names = set(self._connection.scalars(do.NEWEST_NAMES, {"the_limit": _NAMES_MAX}))
        raise InputError(
            f"there is no job {ref!r}{nearest(ref, names)}",
            where="job",
            fix="give a name or an id that `lockstep jobs` lists",
        )

    def page(
        self,
        *,
        states: Collection[JobState] | None = None,
        queues: Collection[str] | None = None,
        user: str | None = None,
        limit: int = 100,
        before: int | None = None,
    ) -> list[JobRecord]:
        """The `limit` newest jobs of which all that is given holds, newest first.

        Args:
            states, queues: only jobs in one of these; None is all, and empty none.
            user: only theirs.
            before: only jobs with a lower number: the last one's of the page before.
        """
        rows = select(tables.jobs)
        if states is not None:
            rows = rows.where(_JOBS.state.in_([state.value for state in states]))
        if queues is not None:
            rows = rows.where(_JOBS.queue.in_(list(queues)))
        if user is not None:
            rows = rows.where(_JOBS.user == user)
        if before is not None:
            rows = rows.where(_JOBS.number < before)
        return self._records(rows.order_by(_JOBS.number.desc()).limit(limit))

    def count_by_state(self) -> dict[JobState, int]:
        """How many jobs are in each state; all states are there."""
        rows = self._connection.execute(do.COUNT_BY_STATE)
        return {**dict.fromkeys(JobState, 0), **{JobState(state): count for state, count in rows}}

    def count_by_queue(self) -> dict[str, dict[JobState, int]]:
        """How many jobs each queue has in each state, where there are any."""
        rows = self._connection.execute(do.COUNT_BY_QUEUE)
        counts: dict[str, dict[JobState, int]] = {}
        for queue, state, count in rows:
            counts.setdefault(queue, {})[JobState(state)] = count
        return counts

    def submit(self, submission: Submission, now: float) -> tuple[JobRecord, bool]:
        """Hand in a job; its record, and whether it is a new one.

        The same user's same key leads to the job that came with it first, whatever has become of it.

        Raises:
            InputError: another job came with this key, a live job has this name, there is no such queue, or
                it cannot have so many workers.
        """
        if submission.key is not None:
            known = self._first(do.BY_KEY, the_user=submission.user, the_key=submission.key)
            if known is not None:
                refuse_another_job(known, submission)
                return known, False
        if (taken := self._live(submission.name)) is not None:
            refuse_taken_name(taken)
        Queues(self._connection).get(submission.queue)
        record = first_record(submission, now)
        number = self._connection.execute(do.INSERT, job_rows.to_row(record)).scalar_one()
        self._events.add(
            record.id,
            Note(kind="submitted", cause="user", who=submission.user),
            now=now,
            after=record.state,
        )
        return job_rows.numbered(record, number), True

    def wish(
        self,
        ref: str,
        *,
        who: str,
        now: float,
        intent: Intent | None = None,
        min_workers: int | None = None,
        max_workers: int | None = None,
    ) -> JobRecord:
        """Note what somebody wants of a job, see `orchestrator.store.wishes`; the control loop acts on it.

        Raises:
            InputError: it makes no sense, or there is no such job.
        """
        record = self.get(ref)
        changes, notes = wish(
            record, who=who, intent=intent, min_workers=min_workers, max_workers=max_workers
        )
        for note in notes:
            self._events.add(record.id, note, now=now)
        return self._update(record, dict(changes)) if changes else record

    # --- for the control loop, which alone moves jobs ---

    def live(self) -> list[JobRecord]:
        """All that are not over, in the order of their numbers."""
        return self._records(do.LIVE)

    def changed_since(self, change: int) -> tuple[list[JobRecord], int]:
        """Jobs that came or changed after a change, in the order of their latest ones; the last one's number.

        See `orchestrator.store.mirror`, which keeps the live ones in memory.

        Args:
            change: what this returned last; 0 gives all jobs there ever were.
        """
        rows = self._connection.execute(do.CHANGED_SINCE, {"the_change": change}).all()
        return [job_rows.of_row(row) for row in rows], rows[-1].change if rows else change

    def newest_change(self) -> int:
        """The number of the last change of any job; 0 before the first."""
        return self._connection.scalar(do.NEWEST_CHANGE) or 0

    def move(
        self,
        record: JobRecord,
        after: JobState,
        *,
        now: float,
        cause: str,
        reason: str,
        who: str,
        data: Mapping[str, Any] | None = None,
        **changes: Unpack[Changes],
    ) -> JobRecord:
        """Take a job to another state, with an event of kind "state".

        Sets last_change_at, started_at when it begins to run, and ended_at when it ends, and drops its
        allocation when it comes to hold none. What it got of the cluster until now is the caller's to charge.

        Args:
            record: as it was read last; its version must be the stored one.
            cause, reason, who, data: for the event; `reason` becomes the record's as well.
            changes: what else changes with it.

        Raises:
            Illegal: there is no such transition (`states.LEGAL`).
            Stale: the job has changed since.
        """
        if after not in LEGAL[record.state]:
            check(record.id, record.state, after, self._events.story(record.id))
        values: dict[str, Any] = {"last_change_at": now, **changes, "state": after, "reason": reason}
        if after is JobState.RUNNING:
            values.setdefault("started_at", now)
        if after in ENDED:
            values["ended_at"] = now
        moved = self._update(record, values)
        if after not in HOLDING:
            Allocations(self._connection).drop(record.id)
        note = Note(kind="state", cause=cause, reason=reason, who=who, data=data or {})
        self._events.add(record.id, note, now=now, before=record.state, after=after)
        return moved

    def change(
        self,
        record: JobRecord,
        *,
        now: float,
        event: Note | None = None,
        reason: str | None = None,
        **changes: Unpack[Changes],
    ) -> JobRecord:
        """Change a job without moving it; `now` is the event's time.

        Raises:
            Stale: the job has changed since its record was read.
        """
        values: dict[str, Any] = dict(changes)
        if reason is not None:
            values["reason"] = reason
        if event is not None:
            self._events.add(record.id, event, now=now)
        return self._update(record, values) if values else record

    def explain(self, reasons: Mapping[str, Mapping[str, Any] | None]) -> None:
        """Set `explain` of many jobs at once, by id, whatever their versions; without events.

        Each is read again as changed: give only those whose reason is another one than before.
        """
        if not reasons:
            return
        rows = [
            {"the_id": id, "change": change, "explain": None if why is None else dict(why)}
            for change, (id, why) in enumerate(reasons.items(), self.newest_change() + 1)
        ]
        self._connection.execute(do.EXPLAIN, rows)

    def _update(self, record: JobRecord, values: Mapping[str, Any]) -> JobRecord:
        row = {**job_rows.columns(values), "the_id": record.id, "the_version": record.version}
        if self._connection.execute(do.UPDATE, row).rowcount != 1:
            raise Stale(f"job {record.id} is not at version {record.version} any more")
        return job_rows.changed(record, values)

    def _live(self, name: str) -> JobRecord | None:
        return self._first(do.LIVE_OF_NAME, the_name=name)

    def _first(self, rows: Select[Any], **parameters: object) -> JobRecord | None:
        row = self._connection.execute(rows, parameters).first()
        return None if row is None else job_rows.of_row(row)

    def _records(self, rows: Select[Any]) -> list[JobRecord]:
        return [job_rows.of_row(row) for row in self._connection.execute(rows)]
