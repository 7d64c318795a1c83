"""Jobs as rows, and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

from sqlalchemy import Row

from orchestrator.records.facts import JobState
from orchestrator.store.records import JobRecord, Submission
from orchestrator.store.states import Intent

_SUBMITTED_SIZES = {"min_workers": "submitted_min_workers", "max_workers": "submitted_max_workers"}
_OF_SUBMISSION = [field.name for field in fields(Submission) if field.name not in _SUBMITTED_SIZES]
_STATES = {state.value: state for state in JobState}
_INTENTS = {intent.value: intent for intent in Intent}
_OF_RECORD = [field.name for field in fields(JobRecord) if field.name != "submission"]


def of_row(row: Row[Any]) -> JobRecord:
    """The record of a row of `tables.jobs`."""
    values = row._asdict()
    del values["change"]
    submission = Submission(
        **{name: values.pop(name) for name in _OF_SUBMISSION},
        **{name: values.pop(column) for name, column in _SUBMITTED_SIZES.items()},
    )
    values["state"], values["intent"] = _STATES[values["state"]], _INTENTS[values["intent"]]
    return JobRecord(submission=submission, **values)


def to_row(record: JobRecord) -> dict[str, Any]:
    """The columns of a new job, but for those that the database counts."""
    submission = record.submission
    values = {name: getattr(record, name) for name in _OF_RECORD if name != "number"}
    values |= {name: getattr(submission, name) for name in _OF_SUBMISSION}
    values |= {column: getattr(submission, name) for name, column in _SUBMITTED_SIZES.items()}
    return columns(values)


def columns(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values of a record's fields as those of its row."""
    return {
        name: value.value
        if isinstance(value, JobState | Intent)
        else dict(value)
        if isinstance(value, Mapping)
        else value
        for name, value in values.items()
    }


def changed(record: JobRecord, values: Mapping[str, Any]) -> JobRecord:
    """The record after `columns(values)` were written."""
    values = dict(values)
    submission = record.submission
    if "start" in values:
        submission = replace(submission, start=values.pop("start"))
    return replace(record, submission=submission, version=record.version + 1, **values)


def numbered(record: JobRecord, number: int) -> JobRecord:
    """With the number that the database gave."""
    return replace(record, number=number)
