"""A worker made of numbers: it reports what a real one would, by a clock that the test turns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from workers.protocol import (
    Activity,
    Beat,
    Broken,
    Damaged,
    Evaluated,
    Failed,
    Fault,
    Finished,
    Formed,
    Lost,
    Parked,
    Pulse,
    Ready,
    Saved,
    StepDone,
    TrainJob,
    Usage,
)

BATCH = 64


def train_job(**changes: object) -> TrainJob:
    """A small job without data."""
    fields: dict[str, object] = {
        "name": "toy",
        "recipe": "recipe:Toy",
        "params": {},
        "source_folder": "",
        "sources": {},
        "seed": 0,
        "virtual_ranks": 8,
        "batch_size": BATCH,
        "steps": 300,
        "train": None,
    }
    return TrainJob(**{**fields, **changes})  # type: ignore[arg-type]


class FakeWorker:
    """Reports with the clock that `spend` has filled.

    Args:
        id: the worker's id.
        began: when its process began, by the supervisor's clock.
        node: the id of the node that it runs on.
    """

    def __init__(self, id: str = "w0", began: float = 0.0, node: str = "n0") -> None:
        self.id, self.now, self.node = id, began, node
        self.clock: dict[Activity, float] = {}

    def spend(self, activity: Activity, seconds: float) -> FakeWorker:
        """Time passes, all of it in `activity`."""
        self.clock[activity] = self.clock.get(activity, 0.0) + seconds
        self.now += seconds
        return self

    def ready(self, startup: Mapping[str, float] | None = None) -> Ready:
        return Ready(
            **self._common(),
            pid=1000 + sum(self.id.encode()),
            node="here",
            node_id=self.node,
            device="cpu",
            store=f"{self.id}:1",
            fingerprint={},
            startup=startup or {},
        )

    def formed(
        self, generation: int = 0, step: int = 0, restored: bool = False, healed: bool = False
    ) -> Formed:
        return Formed(**self._common(), generation=generation, step=step, restored=restored, healed=healed)

    def step_done(
        self,
        step: int,
        *,
        generation: int = 0,
        loss: float = 1.0,
        values: Mapping[str, float] | None = None,
        seconds: float = 0.05,
        busy_seconds: float = 0.0,
        usage: Usage | None = None,
    ) -> StepDone:
        return StepDone(
            **{**self._common(), "usage": usage},
            generation=generation,
            step=step,
            epoch=0,
            samples=step * BATCH,
            loss=loss,
            values=values or {},
            seconds=seconds,
            busy_seconds=busy_seconds,
        )

    def evaluated(self, step: int, metrics: Mapping[str, float]) -> Evaluated:
        return Evaluated(**self._common(), step=step, metrics=metrics)

    def saved(
        self,
        step: int,
        written_bytes: int = 0,
        *,
        generation: int = 0,
        chunks: Mapping[int, Any] | None = None,
        draft: Mapping[str, Any] | None = None,
    ) -> Saved:
        return Saved(
            **self._common(),
            generation=generation,
            step=step,
            chunks=chunks or {},
            draft=draft,
            written_bytes=written_bytes,
            seconds=0.1,
        )

    def parked(self, step: int, generation: int = 0) -> Parked:
        return Parked(**self._common(), generation=generation, step=step)

    def broken(self, step: int | None, generation: int = 0, message: str = "connection closed") -> Broken:
        """In the middle of the step after `step`."""
        begun = None if step is None else step + 1
        return Broken(**self._common(), generation=generation, step=step, begun=begun, message=message)

    def damaged(self, block: int, step: int | None, generation: int = 0) -> Damaged:
        """In the step after `step`."""
        return Damaged(
            **self._common(),
            generation=generation,
            step=step,
            begun=None if step is None else step + 1,
            block=block,
            message=f"block {block} is damaged",
        )

    def finished(self, step: int, state_digest: str | None = None, generation: int = 0) -> Finished:
        return Finished(**self._common(), generation=generation, step=step, state_digest=state_digest)

    def failed(self, fault: Fault = Fault.USER, step: int | None = None, trace: str | None = None) -> Failed:
        return Failed(**self._common(), fault=fault, message=f"{fault.value} failure", trace=trace, step=step)

    def beat(self, activity: Activity = Activity.PRODUCTIVE, seconds: float = 0.0) -> Beat:
        return Beat(worker=self.id, pulse=Pulse(activity=activity, seconds=seconds))

    def lost(
        self, cause: str = "killed by signal 11", fault: Fault = Fault.CRASH, *, by_itself: bool = True
    ) -> Lost:
        return Lost(worker=self.id, cause=cause, fault=fault, by_itself=by_itself)

    def _common(self) -> dict[str, object]:
        return {"worker": self.id, "time": self.now, "clock": dict(self.clock)}
