"""Amounts as people write them: `gpus=8`, `cpus=0.5`, `memory=64` (GiB). Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable

from workers.errors import InputError

#: As people say it → what the scheduler counts in, and how many of these one is.
_KINDS = {"cpus": ("cpu_millis", 1000), "gpus": ("gpu_millis", 1000), "memory": ("memory_mib", 1024)}


def amounts(words: Iterable[str] | None, where: str) -> dict[str, int]:
    """`["gpus=8"]` → `{"gpu_millis": 8000}`.

    Raises:
        InputError: something else is written, or nothing that can be had.
    """
    found: dict[str, int] = {}
    for word in words or ():
        kind, _, text = word.partition("=")
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if kind not in _KINDS or not 0 <= value < 1e9:
            fix = f"write KIND=AMOUNT, KIND one of {', '.join(_KINDS)}: gpus=8, memory=64 (GiB)"
            raise InputError(f"{word!r} is no amount", where=where, fix=fix)
        name, factor = _KINDS[kind]
        found[name] = round(value * factor)
    return found


def words(amounts: dict[str, int | None] | None) -> str:
    """`{"gpu_millis": 8000}` → `8 GPUs`; `-` for nothing."""
    parts = []
    for kind, (name, factor) in _KINDS.items():
        value = (amounts or {}).get(name)
        if value:
            unit = "GiB" if kind == "memory" else kind[:-1].upper() + "s"
            parts.append(f"{round(value / factor, 1):g} {unit}")
    return ", ".join(parts) or "-"
