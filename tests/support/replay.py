"""A made-up job, told to the display as a real one is: `python -m tests.support.replay [SECS] [--fail]`."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterator

from orchestrator.records.facts import JobState
from orchestrator.records.scoreboard import Scoreboard
from orchestrator.records.steplog import Entry
from tests.support.events import FakeWorker, train_job
from workers.protocol import Activity, Event, Fault, Membership, Usage

STEPS = 300
IDS = ("w0", "w1")


def story(
    began: float, *, seconds_per_step: float = 0.05, fail_at: int | None = None
) -> Iterator[list[Event]]:
    """Reports of two workers, in batches that arrive together."""
    workers = [FakeWorker(id, began=began) for id in IDS]
    phases = {"import torch": 1.4, "build": 0.2, "warm up": 0.3}
    yield [worker.spend(Activity.STARTUP, 1.9).ready(phases) for worker in workers]
    yield [worker.spend(Activity.STARTUP, 0.1).formed() for worker in workers]
    for step in range(1, STEPS + 1):
        if step == fail_at:
            trace = 'Traceback (most recent call last):\n  File "recipe.py", line 31, in loss\nValueError: no'
            yield [workers[1].failed(Fault.USER, step, trace), workers[0].broken(step - 1)]
            return
        yield [_step(worker, step, seconds_per_step) for worker in workers]
        if step % 100 == 0:
            metrics = {"bits_per_byte": 2 + 2 * math.exp(-step / 100)}
            yield [worker.spend(Activity.EVALUATION, 0.4).evaluated(step, metrics) for worker in workers]
        if step % 50 == 0:
            yield [worker.spend(Activity.CHECKPOINT_STALL, 0.02).saved(step, 3_400_000) for worker in workers]
    yield [worker.finished(STEPS, "1f" * 32 if worker.id == "w0" else None) for worker in workers]


def _step(worker: FakeWorker, step: int, seconds: float) -> Event:
    worker.spend(Activity.DATA_WAIT, 0.03 * seconds)
    worker.spend(Activity.PRODUCTIVE, 0.82 * seconds).spend(Activity.REDUCE_WAIT, 0.15 * seconds)
    usage = Usage(cpu_seconds=worker.now % 1000, memory_bytes=412_000_000 + step)
    loss = 2.0 + 3.5 * math.exp(-step / 60)
    return worker.step_done(step, loss=loss, seconds=seconds, usage=usage)


def play(
    board: Scoreboard,
    tell: Callable[[Entry], None],
    reports: Iterator[list[Event]],
    wait: Callable[[float], float],
) -> None:
    """Drive a scoreboard as a supervisor would. `wait(time)` passes the time until then, and returns it."""
    now = wait(0.0)

    def tell_all(entries: tuple[Entry, ...]) -> None:
        for entry in entries:
            tell(entry)

    tell_all(board.queued(IDS, now))
    tell_all(board.placed(IDS, now))
    board.started({"imports": 0.8, "ray start": 2.9, "placement": 0.1, "workers start": 2.2})
    board.served("http://127.0.0.1:9464/metrics")
    failed = False
    for batch in reports:
        now = wait(max(event.time for event in batch))
        for event in batch:
            tell_all(board.observe(event, now))
            failed |= type(event).__name__ == "Failed"
        if type(batch[0]).__name__ == "Ready":
            hosted = ((0, 1, 2, 3), (4, 5, 6, 7))
            tell_all(board.formed(Membership(generation=0, workers=IDS, hosted=hosted, store="-"), now))
        if type(batch[0]).__name__ == "Saved":
            tell_all(board.checkpointed("file:///tmp/runs/pydoc-text", board.status.step, now))
    tell_all(board.ended(JobState.FAILED if failed else JobState.DONE, now))


def main() -> None:
    from orchestrator.cli.console import Console
    from orchestrator.cli.report import print_report

    took = float(sys.argv[1]) if len(sys.argv) > 1 else 15.0
    fail_at = 177 if "--fail" in sys.argv else None
    began = time.time()
    board = Scoreboard(train_job(name="pydoc-text", steps=STEPS), began)
    console = Console(lambda: board.view(time.time()))

    def wait(until: float) -> float:
        while time.time() < until:
            console.update()
            time.sleep(0.02)
        console.update()
        return time.time()

    play(board, console.event, story(began + 0.3, seconds_per_step=took / STEPS, fail_at=fail_at), wait)
    console.close()
    print_report(board.view(time.time()), sys.stderr)
    print(f"CPU {time.process_time():.2f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
