"""What a job is when it is handed in, and why it may be refused. Pure but for its id."""

from __future__ import annotations

import json
from typing import Never

from orchestrator.records.facts import JobState
from orchestrator.store.ids import new_id
from orchestrator.store.records import JobRecord, Submission
from orchestrator.store.tables import dump_json
from workers.errors import InputError


def first_record(submission: Submission, now: float) -> JobRecord:
    """A job that was handed in at `now`; its number, 0 as yet, is the database's to give.

    Raises:
        InputError: it cannot have so many workers.
    """
    least, most = submission.min_workers, submission.max_workers
    if not 1 <= least <= most:
        raise InputError(
            f"it cannot have {least} workers at least and {most} at most",
            where="workers",
            fix="give min and max, 1 or more, min no higher than max",
        )
    return JobRecord(
        id=new_id(),
        number=0,
        submission=submission,
        state=JobState.QUEUED,
        version=1,
        submitted_at=now,
        min_workers=least,
        max_workers=most,
        last_change_at=now,
    )


def refuse_another_job(known: JobRecord, submission: Submission) -> None:
    """Unless both are the same job. `start` is not compared: it changes while a job lives.

    Raises:
        InputError: they are not.
    """
    before, now = known.submission, submission
    same = (before.name, before.queue, before.bundle) == (now.name, now.queue, now.bundle)
    if not same or before.spec != json.loads(dump_json(dict(now.spec))):
        raise InputError(
            f"this key came with another job: {before.name} ({known.id})",
            where="key",
            fix="use a new key for each job, and the same one only to hand in the same job again",
        )


def refuse_taken_name(taken: JobRecord) -> Never:
    """A live job has the name that another one wants.

    Raises:
        InputError: always.
    """
    name = taken.submission.name
    raise InputError(
        f"a job named {name} is {taken.state} already ({taken.id})",
        where="name",
        fix="wait for it, cancel it, or choose another name",
    )
