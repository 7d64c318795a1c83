"""What `lockstep top` shows. Pure: the API's summary → something for Rich."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from orchestrator.cli.job_view import jobs_table
from orchestrator.cli.tables import nodes_table, queues_table

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text

_BAR = 24
_NODES_MAX, _QUEUES_MAX = 8, 8
_FRAME = 10  # lines that are there whatever there is


def screen(summary: Mapping[str, Any], *, rows: int, first: int = 0, trouble: str = "") -> RenderableType:
    """One look.

    Args:
        summary: of GET /v1/summary.
        rows: jobs that there is room for.
        first: the first job that is shown.
        trouble: why this is not what is there now.
    """
    from rich.console import Group
    from rich.text import Text

    nodes, queues, jobs = summary["nodes"], summary["queues"], summary["jobs"]
    parts: list[RenderableType] = [_head(summary, trouble), *_bars(nodes), Text()]
    parts.append(_section("nodes", len(nodes), _NODES_MAX))
    parts.append(nodes_table(nodes[:_NODES_MAX]))
    parts.append(_section("queues", len(queues), _QUEUES_MAX))
    parts.append(queues_table(queues[:_QUEUES_MAX]))
    shown = jobs[first : first + rows]
    place = f"{first + 1}-{first + len(shown)} of {len(jobs)}" if len(shown) < len(jobs) else ""
    parts.append(Text.assemble(("jobs ", "bold"), (place, "dim")))
    parts.append(jobs_table(shown, summary["time"]))
    return Group(*parts)


def rows_for(summary: Mapping[str, Any], height: int) -> int:
    """How many jobs a terminal of so many lines has room for."""
    nodes = min(len(summary["nodes"]), _NODES_MAX)
    queues = min(len(summary["queues"]), _QUEUES_MAX)
    return max(1, height - _FRAME - nodes - queues)


def _head(summary: Mapping[str, Any], trouble: str) -> Text:
    from rich.text import Text

    states: Counter[str] = Counter()
    for queue in summary["queues"]:
        states.update(queue["states"])
    order = ("running", "starting", "stopping", "queued", "paused")
    counts = "  ".join(f"{states[state]} {state}" for state in order if states[state]) or "no jobs"
    clock = time.strftime("%H:%M:%S", time.localtime(summary["time"]))
    head = Text.assemble(("lockstep ", "bold"), (clock, "dim"), "  ", counts, ("   q leaves", "dim"))
    if trouble:
        head.append(f"  {trouble}", style="bold red")
    head.no_wrap, head.overflow = True, "ellipsis"
    return head


def _bars(nodes: Sequence[Mapping[str, Any]]) -> list[Text]:
    """What is in use of all GPUs and CPUs."""
    from rich.text import Text

    bars = []
    for name, kind in (("GPUs", "gpu_millis"), ("CPUs", "cpu_millis")):
        total = sum(node["capacity"][kind] for node in nodes)
        if not total:
            continue
        used = sum(node["used"][kind] for node in nodes)
        full = min(_BAR, round(_BAR * used / total))
        bars.append(
            Text.assemble(
                f"{name} ",
                ("█" * full, "green"),
                ("░" * (_BAR - full), "dim"),
                f" {used / 1000:g} of {total / 1000:g}",
            )
        )
    return bars


def _section(name: str, count: int, most: int) -> Text:
    from rich.text import Text

    more = f"and {count - most} more" if count > most else ""
    return Text.assemble((f"{name} ", "bold"), (more, "dim"))
