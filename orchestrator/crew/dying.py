"""What is known of a worker's death before Ray says anything."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Dying:
    """A worker whose process is ending, or has ended.

    Attributes:
        words: its last ones, see `workers.stacks`; empty if it had none, or nobody there to hear them.
    """

    worker: str
    words: str = ""
