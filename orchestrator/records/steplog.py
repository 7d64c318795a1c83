"""A job's history as JSON lines: one for each committed step, one for each thing worth telling."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Any

from orchestrator.records.facts import json_float, json_floats
from workers.errors import AccessError


class Kind(StrEnum):
    """What can happen to a job."""

    STEP = "step"
    QUEUED = "queued"
    PLACED = "placed"
    READY = "ready"
    STANDS_BY = "stands_by"
    FORMED = "formed"
    BROKEN = "broken"
    HOLD = "hold"
    WISH = "wish"
    DISMISSED = "dismissed"
    STACKS = "stacks"
    EVALUATED = "evaluated"
    CHECKPOINT = "checkpoint"
    DAMAGED = "damaged"
    WORKER_FAILED = "worker_failed"
    WORKER_LOST = "worker_lost"
    DISAGREEMENT = "disagreement"
    LOG = "log"
    NOTE = "note"
    ENDED = "ended"


@dataclass(frozen=True, kw_only=True)
class StepEntry:
    """One committed step. A step that had to be redone has two.

    Attributes:
        time: seconds since the epoch at which the worker that was heard first had done it, by its clock.
    """

    step: int
    epoch: int
    samples: int
    loss: float
    values: Mapping[str, float]
    time: float | None = None

    def to_json(self) -> dict[str, Any]:
        """`{time, kind: "step", step, epoch, samples, loss, values}`; floats as `json_float` has them."""
        return {
            **({} if self.time is None else {"time": self.time}),
            "kind": Kind.STEP.value,
            "step": self.step,
            "epoch": self.epoch,
            "samples": self.samples,
            "loss": json_float(self.loss),
            "values": json_floats(self.values),
        }


@dataclass(frozen=True, kw_only=True)
class EventEntry:
    """One thing that happened.

    Attributes:
        time: seconds since the epoch.
        worker: the worker that it happened to, if it was one.
        cause: a bounded code, for counting.
        reason: words, for people.
        values: numbers that belong to it, such as an evaluation's.
    """

    time: float
    kind: Kind
    step: int | None = None
    worker: str | None = None
    cause: str | None = None
    reason: str | None = None
    values: Mapping[str, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """`{time, kind, step, worker, cause, reason}`, and `values` where there are any."""
        entry = {**vars(self), "kind": self.kind.value, "values": json_floats(self.values)}
        return entry if self.values else {key: entry[key] for key in entry if key != "values"}


@dataclass(frozen=True, kw_only=True)
class LogEntry:
    """A line that a rank of a script job has written.

    Attributes:
        time: seconds since the epoch.
        worker: the rank.
        stream: "stdout" or "stderr".
        attempt: in which start of the group.
        text: without the line's end.
    """

    time: float
    worker: str
    stream: str
    attempt: int
    text: str

    def to_json(self) -> dict[str, Any]:
        """`{time, kind: "log", worker, stream, attempt, text}`."""
        return {"time": self.time, "kind": Kind.LOG.value, **vars(self)}


Entry = StepEntry | EventEntry | LogEntry


class StepLog:
    """Appends entries to a file; whole lines only, so that it can be followed, and cut off at any moment.

    Args:
        path: the file; made with its folder when missing, appended to otherwise.

    Raises:
        AccessError: the file cannot be opened, or (from `write`) no longer be written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("ab", buffering=0)
        except OSError as error:
            raise self._refused(error) from error

    def write(self, entry: Entry) -> None:
        """Append one entry as one line."""
        line = json.dumps(entry.to_json(), ensure_ascii=False, allow_nan=False) + "\n"
        try:
            self._file.write(line.encode())
        except OSError as error:
            raise self._refused(error) from error

    def close(self) -> None:
        """Nothing is written after this."""
        self._file.close()

    def __enter__(self) -> StepLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _refused(self, error: OSError) -> AccessError:
        what = f"the log cannot be written: {error.strerror}"
        return AccessError(what, where=str(self._path), fix="choose another file, or free some space")
