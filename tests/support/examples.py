"""How many examples the property tests of the scheduler and the simulator look at.

By default few: each is a plan, or a life of dozens of them. `LOCKSTEP_EXAMPLES=1` has them look at all, 10 at
ten times as many; and tests/simulation/test_scheduler.py checks the same rules in a hundred thousand plans.
"""

from __future__ import annotations

import os

from hypothesis import settings

_SHARE = float(os.environ.get("LOCKSTEP_EXAMPLES", "0.2"))


def examples(count: int) -> settings:
    """So many of them, or a part, or a multiple; at least ten."""
    return settings(max_examples=max(10, round(count * _SHARE)), deadline=None)
