"""The parts that a job's status is made of, and how they look in JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from workers.protocol import Failed, Fault, StepDone, Usage

#: What a script job promises about its bits; where others say "elastic".
NO_PROMISE = "none"


class JobState(StrEnum):
    """Where a job is in its life."""

    QUEUED = "queued"
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"  # on a server: told to save and stop
    PAUSED = "paused"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


class WorkerState(StrEnum):
    """Where a worker is in its life."""

    QUEUED = "queued"
    STARTING = "starting"
    READY = "ready"
    TRAINING = "training"
    PARKED = "parked"
    RECOVERING = "recovering"
    FINISHED = "finished"
    FAILED = "failed"
    LOST = "lost"


@dataclass(frozen=True, kw_only=True)
class WorkerStatus:
    """What is known of one worker; `vranks` are those it hosts in the current generation. `exit_code` is that
    of a script job's rank that has ended, or minus the number of the signal that ended it."""

    id: str
    state: WorkerState = WorkerState.QUEUED
    pid: int | None = None
    node: str | None = None
    device: str | None = None
    vranks: tuple[int, ...] = ()
    step: int = 0
    usage: Usage | None = None
    exit_code: int | None = None

    def to_json(self) -> dict[str, Any]:
        """`{id, pid, node, device, vranks, state, exit_code}`."""
        return {
            "id": self.id,
            "pid": self.pid,
            "node": self.node,
            "device": self.device,
            "vranks": list(self.vranks),
            "state": self.state.value,
            "exit_code": self.exit_code,
        }


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A committed checkpoint."""

    uri: str
    step: int


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Why a worker, or the job, cannot go on; `worker` is None when it was none of theirs."""

    worker: str | None
    fault: Fault
    message: str
    trace: str | None
    step: int | None
    exit_code: int

    @classmethod
    def of(cls, event: Failed) -> Failure:
        """What a worker reported."""
        return cls(
            worker=event.worker,
            fault=event.fault,
            message=event.message,
            trace=event.trace,
            step=event.step,
            exit_code=event.exit_code,
        )

    def to_json(self) -> dict[str, Any]:
        """All fields, by their names."""
        return {**vars(self), "fault": self.fault.value}


@dataclass(frozen=True, kw_only=True)
class Disagreement:
    """A broken promise: two workers reported different numbers for one step."""

    step: int
    worker: str
    name: str  # "loss", or the name of a logged value
    ours: float | None
    theirs: float | None

    def __str__(self) -> str:
        return f"step {self.step}: {self.worker} reports {self.name} {self.theirs!r}, others {self.ours!r}"


def json_float(value: float | None) -> float | str | None:
    """`value` as standard JSON: what it has no number for is a string that `float()` reads."""
    if value is None or math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def json_floats(values: Mapping[str, float]) -> dict[str, float | str | None]:
    """`json_float` of each value."""
    return {name: json_float(value) for name, value in values.items()}


def differences(known: StepDone, event: StepDone) -> tuple[Disagreement, ...]:
    """What two reports of one step disagree about, bit for bit; NaN agrees with NaN."""
    ours, theirs = {"loss": known.loss, **known.values}, {"loss": event.loss, **event.values}
    return tuple(
        Disagreement(
            step=event.step, worker=event.worker, name=name, ours=ours.get(name), theirs=theirs.get(name)
        )
        for name in sorted(ours.keys() | theirs.keys())
        if repr(ours.get(name)) != repr(theirs.get(name))
    )
