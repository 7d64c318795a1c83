"""A running job as a panel for a terminal, and as one line for everything else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

from orchestrator.cli import format as fmt
from orchestrator.records.facts import JobState, WorkerState, WorkerStatus
from orchestrator.records.ledger import Goodput
from orchestrator.records.status import JobStatus, JobView
from workers.protocol import Activity

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table
    from rich.text import Text

_WORKERS_MAX = 8  # rows; more are summed up
_TRAINING = (
    Activity.PRODUCTIVE,
    Activity.DATA_WAIT,
    Activity.REDUCE_WAIT,
    Activity.CHECKPOINT_STALL,
    Activity.EVALUATION,
)
_STYLES = {
    WorkerState.READY: "cyan",
    WorkerState.TRAINING: "green",
    WorkerState.FINISHED: "green",
    WorkerState.FAILED: "bold red",
    WorkerState.LOST: "bold red",
}


def line(view: JobView) -> str:
    """The job on one line, without control codes."""
    status = view.status
    if status.state is not JobState.RUNNING:
        return f"{status.job}  {status.state.value}  {_crowd(status.workers.values())}  {_wall(view)}"
    if status.is_script:
        return f"{status.job}  running  {_crowd(status.workers.values())}  {_wall(view)}"
    done = status.step / status.steps if status.steps else 1.0
    parts = [f"{status.job}  step {status.step}/{status.steps} ({done:.0%})", f"epoch {status.epoch}"]
    return "  ".join([*parts, *_numbers(status, view.goodput)])


def panel(view: JobView) -> RenderableType:
    """The job as a Rich panel, as wide as the terminal."""
    from rich.console import Group
    from rich.panel import Panel
    from rich.text import Text

    status = view.status
    title = Text.assemble((f"{status.job} ", "bold"), (f"{status.state.value} · {_wall(view)}", "dim"))
    rows: list[RenderableType] = []
    if not status.is_script:
        rows += [_progress(status), Text(" · ".join(_numbers(status, view.goodput)))]
        memory = _memory(status)
        if memory:
            rows.append(Text(memory, style="dim"))
        rows.append(Text())
    rows.append(_workers(status))
    return Panel(Group(*rows), title=title, title_align="left", border_style="blue", padding=(0, 1))


def _progress(status: JobStatus) -> Table:
    from rich.progress_bar import ProgressBar
    from rich.table import Table

    row = Table.grid(padding=(0, 2), expand=True)
    row.add_column(ratio=1)
    row.add_column(no_wrap=True)
    bar = ProgressBar(total=max(1, status.steps), completed=status.step, complete_style="green")
    row.add_row(bar, f"[bold]step {status.step:,}[/] of {status.steps:,} · epoch {status.epoch}")
    return row


def _numbers(status: JobStatus, goodput: Goodput) -> list[str]:
    """Loss, speed, waiting for data and time left: those that are known."""
    if status.loss is None:
        return ["waiting for the first step"]
    parts = [f"loss {fmt.number(status.loss)}"]
    speed, left = status.pace.samples_per_second(), status.pace.seconds_left(status.steps)
    if speed is not None:
        parts.append(f"{fmt.rate(speed)} samples/s")
    parts.append(f"data wait {fmt.percent(goodput.share(Activity.DATA_WAIT, of=_TRAINING))}")
    if left is not None:
        parts.append(f"{fmt.duration(left)} left")
    return parts


def _memory(status: JobStatus) -> str:
    """The last evaluation and the last checkpoint."""
    parts = []
    if status.metrics:
        values = ", ".join(f"{name} {fmt.number(value)}" for name, value in status.metrics.items())
        parts.append(f"evaluation at step {status.evaluated_step}: {values}")
    if status.checkpoint:
        parts.append(f"checkpoint of step {status.checkpoint.step}")
    return " · ".join(parts)


def _workers(status: JobStatus) -> Table:
    from rich.table import Table

    table = Table.grid(padding=(0, 2))
    workers = list(status.workers.values())
    for worker in workers[:_WORKERS_MAX]:
        table.add_row(*_worker(worker))
    if len(workers) > _WORKERS_MAX:
        table.add_row("…", f"and {_crowd(workers[_WORKERS_MAX:])}")
    return table


def _worker(worker: WorkerStatus) -> list[Text]:
    from rich.text import Text

    usage = worker.usage
    memory = fmt.size(usage.memory_bytes) if usage else ""
    busy = f"GPU {fmt.percent(usage.gpu_utilisation)}" if usage and usage.gpu_utilisation is not None else ""
    return [
        Text(worker.id, style="bold"),
        Text(worker.state.value, style=_STYLES.get(worker.state, "dim")),
        Text(f"vranks {fmt.ranks(worker.vranks)}" if worker.vranks else ""),
        Text(worker.device or "", style="dim"),
        Text(f"pid {worker.pid}" if worker.pid else "", style="dim"),
        Text("  ".join(part for part in (memory, busy) if part), style="dim"),
    ]


def _crowd(workers: Iterable[WorkerStatus]) -> str:
    """`3 workers: 2 training, 1 lost`."""
    states = Counter(worker.state.value for worker in workers)
    counted = ", ".join(f"{count} {state}" for state, count in states.items())
    return f"{fmt.plural(states.total(), 'worker')}: {counted}" if states else "no workers yet"


def _wall(view: JobView) -> str:
    return fmt.duration(view.seconds)
