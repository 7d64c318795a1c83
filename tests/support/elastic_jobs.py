"""The bits job, long and slow enough for things to happen to it on its way."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.bits_jobs import BitsJob
from tests.support.lockstep import Lockstep, Result, Running, pids_of, read_log, steps_of

STEPS, EVERY, PAUSE = 200, 35, 0.003
#: BatchNorm counts 5 of 6 steps: from step 140 on each pass takes so long, until all has happened.
LATE, LATE_PAUSE = 116, 0.1

#: Whoever finds its own process id in a file never returns from `loss`.
LOOPING = '''

class Looping(Bits):
    """Loops for ever in the process that a file names."""

    flag = ""

    def loss(self, model, batch):
        import os
        from pathlib import Path

        while Path(self.flag).is_file() and Path(self.flag).read_text() == str(os.getpid()):
            pass
        return super().loss(model, batch)
'''

#: Whoever computes step 30 dies.
POISONED = '''

class Poisoned(Bits):
    """Breaks down in step 30, counted by BatchNorm: in each of 5 epochs before, virtual rank 0 skips one."""

    def build_model(self):
        self.model = super().build_model()
        return self.model

    def loss(self, model, batch):
        import ctypes

        if int(self.model[1].num_batches_tracked) >= 25:
            ctypes.string_at(0)
        return super().loss(model, batch)
'''


def elastic(job: BitsJob, **params: Any) -> BitsJob:
    """Make a job long and slow, and slower towards its end."""
    job.change(
        stop={"steps": STEPS},
        checkpoint={"uri": "runs", "every": EVERY, "if_busy": "wait"},
        evaluate={"every": 50},
        params={
            "pause": PAUSE,
            "hurry": str(_hurry(job)),
            "late": LATE,
            "late_pause": LATE_PAUSE,
            **params,
        },
    )
    return job


def step(number: int) -> Callable[[list[dict[str, Any]]], bool]:
    """A log that has come to a step."""
    return lambda log: max(steps_of(log), default=0) >= number


def told(kind: str, times: int = 1, **facts: str) -> Callable[[list[dict[str, Any]]], bool]:
    """A log that has told something so many times."""

    def has(log: list[dict[str, Any]]) -> bool:
        return sum(e["kind"] == kind and facts.items() <= e.items() for e in log) >= times

    return has


def members(log: list[dict[str, Any]]) -> dict[str, int]:
    """Workers that are not lost, with their processes."""
    gone = {entry["worker"] for entry in log if entry["kind"] in ("worker_lost", "dismissed")}
    return {worker: pid for worker, pid in pids_of(log).items() if worker not in gone}


def kill(running: Running, *which: int, number: signal.Signals = signal.SIGKILL) -> list[str]:
    """Send a signal to some of the living workers, by their place among them; returns their names."""
    there = members(read_log(running.log))
    names = [sorted(there)[place] for place in which]
    for name in names:
        os.kill(there[name], number)
    return names


def _hurry(job: BitsJob) -> Path:
    return job.folder / "hurry"


@dataclass(frozen=True, kw_only=True)
class Slow(Running):
    """A job that takes its time until its end is waited for.

    Attributes:
        hurry: the file that ends the pauses.
    """

    hurry: Path

    def result(self) -> Result:
        """Wait for the end; nothing happens to it any more, so it may come soon."""
        self.hurry.touch()
        return super().result()


@contextmanager
def running_elastic(lockstep: Lockstep, job: BitsJob, workers: int, *options: object) -> Iterator[Slow]:
    """Run a job; if the test breaks off, the job does not go on without anybody."""
    with lockstep.running(job.file, "--workers", workers, *options) as running:
        try:
            yield Slow(**vars(running), hurry=_hurry(job))
        finally:
            if running.process.poll() is None:
                running.command("cancel", "bits", *lockstep.cluster)


def assert_same(result: Result, undisturbed: Result) -> None:
    """It did what an undisturbed run does, to the last bit."""
    assert result.code == 0, result.err
    assert result.json["disagreements"] == []
    assert [*result.steps] == [*range(1, STEPS + 1)]
    assert result.steps == undisturbed.steps
    assert result.json["state_digest"] == undisturbed.json["state_digest"]
    assert result.json["metrics"] == undisturbed.json["metrics"]
    assert evaluations(result) == evaluations(undisturbed)


def evaluations(result: Result) -> dict[int, dict[str, float]]:
    """What was evaluated after which step."""
    return {entry["step"]: entry["values"] for entry in result.events("evaluated")}
