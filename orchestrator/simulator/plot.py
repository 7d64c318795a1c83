"""A picture of a comparison, as SVG: how long jobs took, and how full the cluster was."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from math import log10
from typing import TypeVar

from orchestrator.simulator.simulation import Simulation

_COLOURS = ("#2a6fdb", "#d9480f", "#2b8a3e", "#862e9c", "#868e96")
_WIDTH, _HEIGHT, _LEFT, _TOP, _GAP = 720, 260, 60, 40, 70
_POINTS = 400
Point = tuple[float, float]
T = TypeVar("T")


def picture(runs: Mapping[str, Simulation]) -> str:
    """An SVG document of two panels.

    Args:
        runs: name → simulation that has run.
    """
    completion = {name: _distribution(run) for name, run in runs.items()}
    use = {name: _use(run) for name, run in runs.items()}
    first = min((x for points in completion.values() for x, _ in points), default=0.0)
    last = max((x for points in completion.values() for x, _ in points), default=1.0)
    days = max((x for points in use.values() for x, _ in points), default=1.0)
    ticks = [(float(power), f"{10**power:,} s") for power in range(int(first), int(last) + 1)]
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH + 2 * _LEFT}" '
        f'height="{2 * _HEIGHT + 2 * _TOP + _GAP}" font-family="sans-serif" font-size="12">',
        '<rect width="100%" height="100%" fill="white"/>',
        *_panel(0, "part of the jobs that were done in this time", completion, (first, last), ticks),
        *_panel(1, "part of the GPUs in use, by day", use, (0.0, days), _even(days)),
    ]
    for number, name in enumerate(runs):
        x, colour = _LEFT + number * 120, _COLOURS[number % len(_COLOURS)]
        parts.append(f'<rect x="{x}" y="8" width="12" height="12" fill="{colour}"/>')
        parts.append(f'<text x="{x + 18}" y="18">{escape(name)}</text>')
    return "\n".join([*parts, "</svg>", ""])


def _distribution(run: Simulation) -> list[Point]:
    times = sorted(
        log10(max(1.0, life.ended - life.job.submitted_at))
        for life in run.lives.values()
        if life.ended is not None
    )
    return [(time, (rank + 1) / len(times)) for rank, time in _thinned(list(enumerate(times)))]


def _use(run: Simulation) -> list[Point]:
    began = run.meter.began
    return [
        ((at - began) / 86400, held / there if there else 0.0)
        for at, held, there in _thinned(run.meter.samples)
    ]


def _thinned(points: Sequence[T]) -> list[T]:
    step = max(1, len(points) // _POINTS)
    return [*points[::step], *points[-1:]]


def _even(days: float) -> list[tuple[float, str]]:
    step = max(1, round(days / 8))
    return [(float(day), str(day)) for day in range(0, int(days) + 1, step)]


def _panel(
    number: int,
    title: str,
    lines: Mapping[str, Sequence[Point]],
    span: Point,
    ticks: Sequence[tuple[float, str]],
) -> list[str]:
    top, wide = _TOP + number * (_HEIGHT + _GAP), (span[1] - span[0]) or 1.0

    def place(x: float, y: float) -> str:
        return f"{_LEFT + (x - span[0]) / wide * _WIDTH:.1f},{top + (1 - y) * _HEIGHT:.1f}"

    parts = [f'<text x="{_LEFT}" y="{top - 6}">{escape(title)}</text>']
    for y in (0.0, 0.25, 0.5, 0.75, 1.0):
        at = top + (1 - y) * _HEIGHT
        parts.append(f'<line x1="{_LEFT}" x2="{_LEFT + _WIDTH}" y1="{at}" y2="{at}" stroke="#dee2e6"/>')
        parts.append(f'<text x="{_LEFT - 8}" y="{at + 4}" text-anchor="end">{y:.0%}</text>')
    for x, word in ticks:
        if span[0] <= x <= span[1]:
            at = float(place(x, 0).split(",")[0])
            parts.append(f'<text x="{at}" y="{top + _HEIGHT + 18}" text-anchor="middle">{word}</text>')
    for count, points in enumerate(lines.values()):
        path = " ".join(place(x, y) for x, y in points)
        colour = _COLOURS[count % len(_COLOURS)]
        parts.append(f'<polyline fill="none" stroke="{colour}" stroke-width="1.5" points="{path}"/>')
    return parts
