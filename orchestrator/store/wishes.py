"""What owners may ask of their jobs, and when it makes sense. Pure.

A wish changes no state: it is noted in the record, and the control loop acts on it.
"""

from __future__ import annotations

from orchestrator.records.facts import JobState
from orchestrator.store.records import Changes, JobRecord, Note
from orchestrator.store.states import ENDED, Intent
from workers.errors import InputError

_VERBS = {Intent.RUN: "resume", Intent.PAUSE: "pause", Intent.CANCEL: "cancel"}


def wish(
    record: JobRecord,
    *,
    who: str,
    intent: Intent | None = None,
    min_workers: int | None = None,
    max_workers: int | None = None,
) -> tuple[Changes, list[Note]]:
    """What a wish changes in the record, and what is written about it; nothing if it was granted before.

    Args:
        who: whose wish it is.
        intent: pause, cancel, or run (again).
        min_workers, max_workers: None leaves it as it is.

    Raises:
        InputError: it makes no sense: why, and what would.
    """
    if record.state in ENDED and not (intent is Intent.CANCEL and record.state is JobState.CANCELLED):
        verb = "resize" if intent is None else _VERBS[intent]
        raise _refused(record, f"it is over ({record.state}): there is nothing to {verb}", "submit it again")
    changes, notes = Changes(), list[Note]()
    if intent is not None and _makes_a_difference(record, intent):
        changes["intent"] = intent
        notes.append(Note(kind=_VERBS[intent], cause="user", who=who))
    sizes = (
        record.min_workers if min_workers is None else min_workers,
        record.max_workers if max_workers is None else max_workers,
    )
    if sizes != (record.min_workers, record.max_workers):
        _check_sizes(record, *sizes)
        changes["min_workers"], changes["max_workers"] = sizes
        data = {"min_workers": sizes[0], "max_workers": sizes[1]}
        notes.append(Note(kind="resize", cause="user", who=who, data=data))
    return changes, notes


def _makes_a_difference(record: JobRecord, intent: Intent) -> bool:
    if record.intent is Intent.CANCEL and intent is not Intent.CANCEL:
        raise _refused(record, "it is being cancelled", "submit it again once it is over")
    if intent is Intent.RUN and record.intent is Intent.RUN and record.state is not JobState.PAUSED:
        raise _refused(record, f"it is not paused but {record.state}", "pause it first")
    return record.intent is not intent and record.state is not JobState.CANCELLED


def _check_sizes(record: JobRecord, least: int, most: int) -> None:
    if record.intent is Intent.CANCEL:
        raise _refused(record, "it is being cancelled", "submit it again once it is over")
    if least < 1:
        raise _refused(record, f"it cannot have {least} workers at least", "give 1 or more; pause it for 0")
    if least > most:
        raise _refused(
            record,
            f"it cannot have {least} workers at least and {most} at most",
            "give both, the first no higher than the second",
        )


def _refused(record: JobRecord, what: str, fix: str) -> InputError:
    return InputError(what, where=f"job {record.submission.name} ({record.id})", fix=fix)
