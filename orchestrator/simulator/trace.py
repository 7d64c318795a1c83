"""Traces: what was submitted when, and how long it took. CSV files, a line a job.

`job_id`, `submit_s`, `duration_s`, `gpus` and `vc` (the queue) must be there. A job has as many workers as it
has GPUs. What else a column may say: `user`, `priority`, `min` and `max` (workers; both `gpus` where nothing
is said), `deadline` (seconds after submission), `estimate` (what its user says that it takes on `gpus`; in
seconds), `speedup` (workers:speed pairs, such as `1:1 4:3.6 8:6`), `within` (anywhere, zone, node).
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from math import isfinite
from pathlib import Path
from typing import TypeVar

from orchestrator.scheduler.snapshot import Within
from workers.errors import InputError

REQUIRED = ("job_id", "submit_s", "duration_s", "gpus", "vc")
OPTIONAL = ("user", "priority", "min", "max", "deadline", "estimate", "speedup", "within")
N = TypeVar("N", int, float)
#: Wrong rows that are told one by one.
_TOLD_MAX = 10


@dataclass(frozen=True, kw_only=True, slots=True)
class TraceJob:
    """A job of a trace.

    Attributes:
        submitted_at: seconds, by the trace's clock.
        seconds: that it takes on `gpus` workers.
        deadline: seconds after its submission.
        estimate: what its user says that it takes on `gpus` workers, in seconds.
        speedup: (workers, speed) in rising order; see `Job.speed_curve`.
    """

    id: str
    submitted_at: float
    seconds: float
    gpus: int
    queue: str
    user: str = ""
    priority: int = 0
    min_workers: int
    max_workers: int
    deadline: float | None = None
    estimate: float | None = None
    speedup: tuple[tuple[int, float], ...] = ()
    within: Within = Within.ANYWHERE


def read_trace(path: str | Path) -> list[TraceJob]:
    """All jobs, the earliest first.

    Raises:
        InputError: the file cannot be read, a column is missing or unknown, or rows are wrong (which, why).
    """
    try:
        with open(path, newline="", encoding="utf-8") as file:
            rows = csv.reader(file)
            columns = next(rows, [])
            _check(columns, path)
            jobs, wrong = _parse(columns, rows)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        fix = "name a CSV file with these columns: " + ",".join(REQUIRED)
        raise InputError(f"the trace cannot be read: {error}", where=str(path), fix=fix) from error
    if wrong:
        told = "\n  ".join(wrong[:_TOLD_MAX])
        more = f"\n  and {len(wrong) - _TOLD_MAX} more" if len(wrong) > _TOLD_MAX else ""
        raise InputError(
            f"{len(wrong)} rows are wrong:\n  {told}{more}", where=str(path), fix="mend or delete these rows"
        )
    if not jobs:
        raise InputError("there are no jobs in it", where=str(path), fix="name a trace with a job or more")
    return sorted(jobs, key=lambda job: job.submitted_at)


def _check(columns: list[str], path: str | Path) -> None:
    missing = [name for name in REQUIRED if name not in columns]
    unknown = [name for name in columns if name not in (*REQUIRED, *OPTIONAL)]
    fix = f"the first line names the columns: {','.join(REQUIRED)}, and any of {','.join(OPTIONAL)}"
    if missing:
        raise InputError(f"columns are missing: {', '.join(missing)}", where=f"{path}:1", fix=fix)
    if unknown:
        raise InputError(f"columns are unknown: {', '.join(unknown)}", where=f"{path}:1", fix=fix)
    if len(set(columns)) < len(columns):
        raise InputError("two columns have the same name", where=f"{path}:1", fix=fix)


def _parse(columns: list[str], rows: Iterable[list[str]]) -> tuple[list[TraceJob], list[str]]:
    """Jobs, and what is wrong with those that are none."""
    jobs: list[TraceJob] = []
    wrong: list[str] = []
    seen: dict[str, int] = {}
    for line, row in enumerate(rows, start=2):
        if not row:
            continue
        try:
            if len(row) != len(columns):
                raise ValueError(f"it has {len(row)} fields instead of {len(columns)}")
            job = _job(dict(zip(columns, row, strict=True)))
            if job.id in seen:
                raise ValueError(f"job_id {job.id!r} is that of line {seen[job.id]}")
        except ValueError as error:
            wrong.append(f"line {line}: {error}")
        else:
            seen[job.id] = line
            jobs.append(job)
    return jobs, wrong


def _job(row: Mapping[str, str]) -> TraceJob:
    gpus = _number(row, "gpus", int, least=1)
    least = _number(row, "min", int, least=1) if row.get("min") else gpus
    most = _number(row, "max", int, least=1) if row.get("max") else max(gpus, least)
    if least > most:
        raise ValueError(f"min is {least}, which is more than max, {most}")
    if not row["job_id"]:
        raise ValueError("job_id is empty")
    within = row.get("within") or "anywhere"
    if within not in tuple(Within):
        raise ValueError(f"within is {within!r}: write {', '.join(Within)}")
    return TraceJob(
        id=row["job_id"],
        submitted_at=_number(row, "submit_s", float, least=0),
        seconds=_number(row, "duration_s", float, least=0),
        gpus=gpus,
        queue=row["vc"],
        user=row.get("user", ""),
        priority=_number(row, "priority", int) if row.get("priority") else 0,
        min_workers=least,
        max_workers=most,
        deadline=_number(row, "deadline", float, least=0) if row.get("deadline") else None,
        estimate=_number(row, "estimate", float, least=0) if row.get("estimate") else None,
        speedup=_speedup(row.get("speedup", "")),
        within=Within(within),
    )


def _number(row: Mapping[str, str], name: str, kind: type[N], least: float | None = None) -> N:
    words = "a whole number" if kind is int else "a number"
    words += f" from {least:g}" if least is not None else ""
    try:
        value = kind(row[name])
    except ValueError:
        raise ValueError(f"{name} is {row[name]!r}: write {words}") from None
    if not isfinite(value) or (least is not None and value < least):
        raise ValueError(f"{name} is {row[name]}: write {words}")
    return value


def _speedup(text: str) -> tuple[tuple[int, float], ...]:
    pairs = []
    for part in text.split():
        workers, _, faster = part.partition(":")
        try:
            pairs.append((int(workers), float(faster)))
        except ValueError:
            raise ValueError(f"speedup has {part!r}: write pairs such as 4:3.6") from None
    rising = all(a[0] < b[0] and a[1] <= b[1] for a, b in zip([(0, 0.0), *pairs], pairs, strict=False))
    if not rising or any(faster <= 0 or not isfinite(faster) for _, faster in pairs):
        raise ValueError(f"speedup is {text!r}: more workers come later, and are not slower")
    return tuple(pairs)


def elastic(jobs: Iterable[TraceJob], factor: int) -> list[TraceJob]:
    """The same jobs, if each could use any number of GPUs up to so many times its own, and loses nothing."""
    return [
        replace(
            job,
            min_workers=1,
            max_workers=job.gpus * factor,
            speedup=((job.gpus * factor, float(job.gpus * factor)),),
        )
        for job in jobs
    ]
