"""However many requests are refused, the audit log grows slowly, and counts them all."""

from __future__ import annotations

import math
import re
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.api.refusals import KINDS_MAX, MINUTE_SECONDS, Refusal, Refusals

COUNT = re.compile(r"(\d+) more within a minute, the last one ")


def refusal(time: float, address: str = "10.0.0.1", detail: str = "401: there is no token") -> Refusal:
    return Refusal(time=time, who="", action="GET", target="/", address=address, detail=detail)


def counted(entry: Refusal) -> int:
    found = COUNT.match(entry.detail)
    return int(found[1]) if found else 1


steps = st.lists(
    st.tuples(st.floats(0.0, 40.0), st.sampled_from(["a", "b", "c"]), st.sampled_from(["401: x", "403: y"])),
    max_size=60,
)


@given(steps)
def test_every_refusal_is_counted_once_under_its_address_and_reason(steps):
    refusals, now = Refusals(), 0.0
    entries: list[Refusal] = []
    made: Counter[tuple[str, str]] = Counter()
    for pause, address, detail in steps:
        now += pause
        made[address, detail] += 1
        entries += refusals.add(refusal(now, address, detail))
    entries += refusals.over(math.inf)
    written: Counter[tuple[str, str]] = Counter()
    for entry in entries:
        written[entry.address, COUNT.sub("", entry.detail)] += counted(entry)
    assert written == made


def test_a_flood_is_two_entries_a_minute():
    refusals = Refusals()
    entries = [entry for n in range(6000) for entry in refusals.add(refusal(n * MINUTE_SECONDS / 2000))]
    entries += refusals.over(math.inf)
    assert [counted(entry) for entry in entries] == [1, 1999, 1, 1999, 1, 1999]


def test_a_flood_from_everywhere_is_not_more_than_a_limit():
    refusals = Refusals()
    entries = [entry for n in range(5000) for entry in refusals.add(refusal(1.0, f"10.0.{n >> 8}.{n & 255}"))]
    entries += refusals.over(math.inf)
    assert len(entries) == KINDS_MAX + 2
    assert sum(map(counted, entries)) == 5000
