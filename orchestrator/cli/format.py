"""Numbers as people read them."""

from __future__ import annotations

from collections.abc import Sequence

_SIZES = ("B", "KB", "MB", "GB", "TB")


def duration(seconds: float) -> str:
    """`8 s`, `3:05 min`, `2:03:05 h`: whole seconds, for what is left or has passed."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}:{minutes:02}:{rest:02} h"
    return f"{minutes}:{rest:02} min" if minutes else f"{rest} s"


def rate(value: float) -> str:
    """`0.42`, `18.8`, `1,204`: three digits or more, no false precision."""
    return f"{value:,.0f}" if value >= 99.95 else f"{value:.1f}" if value >= 9.995 else f"{value:.2f}"


def number(value: float) -> str:
    """A loss or a metric: five significant digits."""
    return f"{value:.5g}"


def percent(share: float) -> str:
    """`0.042` → `4.2 %`."""
    return f"{share * 100:.1f} %"


def size(count: int) -> str:
    """Bytes in powers of 1000: `412 MB`."""
    value = float(count)
    for unit in _SIZES:
        if value < 999.5 or unit == _SIZES[-1]:
            break
        value /= 1000
    return f"{value:.3g} {unit}"


def ranks(numbers: Sequence[int]) -> str:
    """`(0, 1, 2, 5)` → `0-2,5`; `-` for none."""
    runs: list[list[int]] = []
    for i in sorted(numbers):
        if runs and runs[-1][1] == i - 1:
            runs[-1][1] = i
        else:
            runs.append([i, i])
    return ",".join(f"{a}" if a == b else f"{a}-{b}" for a, b in runs) or "-"


def plural(count: int, noun: str) -> str:
    """`1 worker`, `1,200 steps`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
