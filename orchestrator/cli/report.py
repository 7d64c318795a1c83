"""The short report at the end of a job: what came out of it, and where every second went."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, TextIO

from orchestrator.cli import format as fmt
from orchestrator.records.advice import advise
from orchestrator.records.facts import JobState, WorkerState
from orchestrator.records.ledger import Goodput
from orchestrator.records.status import WORKER_PHASE, JobStatus, JobView
from workers.protocol import Activity

if TYPE_CHECKING:
    from rich.text import Text

_BAR = 20  # characters for 100 %
_LABEL, _ROW_LABEL = 14, 20  # widths of the first columns
_SHARE_MIN = 0.0005  # less than 0.05 % is not shown
_MEANING = {
    Activity.QUEUED: "waiting for a place",
    Activity.PROVISIONING: "waiting for machines",
    Activity.STARTUP: "processes, imports, building the model, restoring",
    Activity.PRODUCTIVE: "computing steps that count",
    Activity.DATA_WAIT: "waiting for data",
    Activity.REDUCE_WAIT: "exchanging gradients, waiting for other workers",
    Activity.CHECKPOINT_STALL: "stopped to copy a checkpoint",
    Activity.EVALUATION: "evaluating on held-out data",
    Activity.RECOVERY: "noticing a loss and re-forming",
    Activity.REDONE: "work that was thrown away",
    Activity.IDLE: "nothing to do, or never reported",
    Activity.DRAINING: "giving a machine back",
}
_ENDS = {
    JobState.DONE: ("✔", "bold green"),
    JobState.FAILED: ("✘", "bold red"),
    JobState.CANCELLED: ("■", "bold yellow"),
}


def print_report(view: JobView, file: TextIO) -> None:
    """Write the report of a job to `file`; in colour where that is a terminal."""
    from rich.console import Console

    console = Console(file=file, highlight=False, markup=False)
    for part in _parts(view):
        console.print(part, soft_wrap=True)


def _parts(view: JobView) -> Iterator[Text]:
    from rich.text import Text

    status = view.status
    yield Text()
    yield _headline(view)
    if status.state in (JobState.FAILED, JobState.CANCELLED):
        yield from _failure(status)
    yield Text()
    for label, value in _facts(view):
        yield _fact(label, value)
    for broken in status.disagreements:
        yield _fact("BROKEN PROMISE", str(broken), style="bold red")
    yield Text()
    yield from _seconds(view.goodput, len(status.workers))
    if status.startup:
        yield Text()
        yield from _startup(status.startup)
    yield Text()


def _headline(view: JobView) -> Text:
    from rich.text import Text

    status = view.status
    mark, style = _ENDS.get(status.state, ("·", "bold"))
    there = sum(worker.state is not WorkerState.LOST for worker in status.workers.values())
    steps = f"step {status.step:,} of {status.steps:,}, " if not status.is_script else ""
    return Text.assemble(
        (f"{mark} {status.job} ", style),
        f"{status.state.value} after {fmt.duration(view.seconds)}: {steps}{fmt.plural(there, 'worker')}",
    )


def _facts(view: JobView) -> Iterator[tuple[str, str]]:
    """What came out, line by line; what is not known is left out."""
    status = view.status
    if status.loss is not None:
        yield "loss", fmt.number(status.loss)
    for name, value in status.metrics.items():
        yield name, f"{fmt.number(value)}  (evaluated at step {status.evaluated_step})"
    throughput = status.pace.throughput()
    if throughput is not None:
        steps, samples = throughput
        mean = status.pace.step_seconds / status.pace.steps
        yield (
            "throughput",
            f"{fmt.rate(samples)} samples/s, {fmt.rate(steps)} steps/s  (mean step {mean * 1000:,.1f} ms)",
        )
    if status.is_script:
        yield "started", f"{fmt.plural(status.generations, 'time')}"
        yield "bits", "a script job: nothing is promised of them"
    elif status.redone_steps or status.generations > 1:
        yield "history", f"{fmt.plural(status.generations, 'generation')}, {status.redone_steps} steps redone"
    if status.checkpoint is not None:
        yield "checkpoint", f"{status.checkpoint.uri}  (step {status.checkpoint.step})"
        if status.save_times.seconds is not None and status.save_times.stalled is not None:
            yield "saving", _advice(view, status.save_times.seconds, status.save_times.stalled)
    if status.state_digest is not None:
        yield "state digest", status.state_digest
    if status.metrics_address is not None:
        yield "metrics", f"{status.metrics_address}  (while the job ran)"


def _advice(view: JobView, took: float, stalled: float) -> str:
    """What a checkpoint costs, and how often one should be made."""
    advice = advise(stalled=stalled, took=took, elapsed=view.seconds, losses=view.status.recalls)
    supposed = f"every {fmt.duration(advice.between)}, as here" if advice.seen else "once a day"
    return (
        f"training stood still for {stalled * 1000:,.1f} ms, durable after {took:,.2f} s; "
        f"one every {fmt.duration(advice.interval)} loses least if all workers are lost {supposed}"
    )


def _fact(label: str, value: str, *, style: str = "") -> Text:
    from rich.text import Text

    return Text(f"  {label:<{_LABEL}}  {value}", style=style)


def _failure(status: JobStatus) -> Iterator[Text]:
    """The user's own traceback first, then what failed, then what is left of the job."""
    from rich.text import Text

    failure = status.failure
    yield Text()
    if failure is not None:
        where = f" in step {failure.step}" if failure.step is not None else ""
        if failure.trace:
            yield Text(failure.trace.rstrip())
        who = failure.worker or "the job"
        yield Text(f"  {who} failed{where} ({failure.fault.value}): {failure.message}", style="red")
    if status.is_script:
        yield Text("  → started again, it goes on from what its program has saved itself")
    elif status.checkpoint is None:
        yield Text("  → no checkpoint was saved: the next run starts from the beginning")
    else:
        good = status.checkpoint
        yield Text(f"  → the last good checkpoint is of step {good.step}: continue from it with --resume")


def _seconds(goodput: Goodput, workers: int) -> Iterator[Text]:
    from rich.text import Text

    took = f"{goodput.elapsed:,.1f} s of {fmt.plural(workers, 'worker')}"
    yield Text.assemble(("  Where every second went", "bold"), (f"  ({took})", "dim"))
    shown = [activity for activity in Activity if goodput.share(activity) >= _SHARE_MIN]
    for activity in sorted(shown, key=lambda activity: -goodput.seconds[activity]):
        style = "green" if activity is Activity.PRODUCTIVE else "yellow"
        row = _row(activity.value, goodput.seconds[activity], goodput.share(activity), style)
        yield row.append(_MEANING[activity], style="dim")


def _startup(phases: Mapping[str, float]) -> Iterator[Text]:
    """The driver's phases, which are all of the start; inside its last one, those of the slowest worker."""
    from rich.text import Text

    ours = {name: took for name, took in phases.items() if not name.startswith(WORKER_PHASE)}
    total = sum(ours.values())
    yield Text.assemble(("  Until training began", "bold"), (f"  ({total:,.1f} s)", "dim"))
    for name, took in phases.items():
        inside = name.startswith(WORKER_PHASE)
        label = f"· {name.removeprefix(WORKER_PHASE)}" if inside else name
        row = _row(label, took, took / total if total else 0.0, "dim blue" if inside else "blue")
        if inside:
            row.append("in the slowest worker", style="dim")
        else:
            row.rstrip()
        yield row


def _row(label: str, spent: float, share: float, style: str) -> Text:
    from rich.text import Text

    bar = "█" * round(share * _BAR) or "▏"
    row = Text(f"  {label:<{_ROW_LABEL}}  {spent:>9,.2f} s  {fmt.percent(share):>7}  ")
    return row.append(f"{bar:<{_BAR}}  ", style=style)
