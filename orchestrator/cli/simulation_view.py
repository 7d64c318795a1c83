"""What `lockstep simulate` says."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from orchestrator.cli.format import duration, percent
from orchestrator.simulator.outcome import Outcome

_ROWS: list[tuple[str, Callable[[Outcome], str]]] = [
    ("jobs done", lambda o: f"{o.finished:,} of {o.jobs:,}"),
    ("completion, mean", lambda o: _hours(o.completion.mean)),
    ("  half are done in", lambda o: _hours(o.completion.p50)),
    ("  99 % are done in", lambda o: _hours(o.completion.p99)),
    ("without workers, mean", lambda o: _hours(o.queueing.mean)),
    ("  99 %, at most", lambda o: _hours(o.queueing.p99)),
    ("  longest", lambda o: _hours(o.queueing.max)),
    ("first start after, mean", lambda o: _hours(o.first_wait.mean)),
    ("  longest", lambda o: _hours(o.first_wait.max)),
    ("all done after", lambda o: duration(o.makespan)),
    ("GPUs in use", lambda o: percent(o.utilisation)),
    ("  while somebody waited", lambda o: percent(o.utilisation_waiting)),
    ("goodput", lambda o: percent(o.goodput)),
    ("preemptions a job", lambda o: f"{o.preemptions:.3f}"),
    ("resizes a job", lambda o: f"{o.resizes:.3f}"),
    ("failures a job", lambda o: f"{o.failures:.3f}"),
]


def as_object(outcome: Outcome) -> dict[str, Any]:
    """For JSON; times are seconds."""
    return asdict(outcome) | {"worst_finish_time_ratio": outcome.worst_ratio}


def table(outcomes: Mapping[str, Outcome]) -> str:
    """A column for each policy."""
    rows = [("", *outcomes)]
    rows += [(name, *(show(outcome) for outcome in outcomes.values())) for name, show in _ROWS]
    some = list(outcomes.values())
    if any(o.deadlines_met is not None for o in some):
        rows.append(("deadlines met", *(percent(o.deadlines_met or 0.0) for o in some)))
    if any(o.cost for o in some):
        rows.append(("cost", *(f"{o.cost:,.2f}" for o in some)))
    if any(o.impossible for o in some):
        rows.append(("too large for the cluster", *(f"{o.impossible:,}" for o in some)))
    if any(o.worst_ratio is not None for o in some):
        rows.append(("finish-time ratio, worst queue", *(f"{o.worst_ratio or 0:.2f}" for o in some)))
        for queue in some[0].finish_time_ratio:
            rows.append((f"  {queue}", *(f"{o.finish_time_ratio.get(queue, 0):.2f}" for o in some)))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:.2f} h" if seconds >= 360 else f"{seconds:.0f} s"
