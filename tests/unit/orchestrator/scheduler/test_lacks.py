"""Why there is no room holds for whoever it is said of, and for the one who asked."""

from __future__ import annotations

from math import inf

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.scheduler.lacks import lack_at_once, lacks_in_rows, lacks_of_slots
from orchestrator.scheduler.placement import most
from orchestrator.scheduler.room import SOON, Room, Shape
from orchestrator.scheduler.snapshot import Within
from tests.support.examples import examples
from tests.support.scheduling import nodes

AMOUNTS = [(1, 1, 0), (1, 2, 0), (2, 1, 1), (4, 0, 2), (0, 0, 3)]
LATER = (10.0, 30.0, 100.0, 1000.0)


@st.composite
def rooms(draw: st.DrawFn) -> Room:
    machines = draw(nodes(1, 4))
    later = draw(st.integers(0, len(LATER)))
    amounts = st.integers(-2, 9)
    shape = (2 + later, len(machines), 3)
    size = int(np.prod(shape))
    free = np.array(draw(st.lists(amounts, min_size=size, max_size=size)), dtype=np.int64)
    return Room(machines, (0.0, 0.0, *LATER[:later]), free.reshape(shape))


def shapes(room: Room, everywhere: list[bool]) -> list[Shape]:
    eligible = np.array((everywhere * 4)[: len(room.nodes)], dtype=np.bool_)
    return [Shape(amounts, (), eligible) for amounts in AMOUNTS]


@examples(200)
@given(
    room=rooms(),
    which=st.sampled_from(range(len(AMOUNTS))),
    workers=st.integers(1, 12),
    within=st.sampled_from(list(Within)),
    soon=st.booleans(),
    seconds=st.sampled_from((0.5, 10.0, 11.0, 250.0, 5000.0, None)),
    everywhere=st.lists(st.booleans(), min_size=1, max_size=4),
)
def test_what_is_said_of_a_gang_that_finds_no_room_is_so_for_all_of_whom_it_is_said(
    room, which, workers, within, soon, seconds, everywhere
):
    all_shapes, first = shapes(room, everywhere), SOON if soon else 0
    shape, end = all_shapes[which], room.end_row(first, seconds)
    there = most(room.window(shape, first, end), within, room)
    found = [
        lacks_in_rows(lambda kind: room.free[first:end, :, kind], shape, workers, within, room, first),
        lacks_of_slots(room.slots(shape)[first:end], shape.amounts, workers, within, room, first),
    ]
    if end == SOON + 1:
        at_once = lack_at_once(room.free[first:end].min(axis=0), shape, workers, within, room)
        found.append((at_once,) if at_once is not None else ())
    until = inf if seconds is None else seconds
    for said in found:
        assert bool(said) == (there < workers)
        assert not said or any(each.covers(shape, workers, until) for each in said)
        for other in all_shapes:
            for over_at in (0.5, 10.0, 10.5, 30.0, 31.0, 100.0, 999.0, 5000.0, inf):
                row = room.end_row(first, None if over_at == inf else over_at)
                fit = most(room.window(other, first, row), within, room)
                for count in range(1, 13):
                    if any(each.covers(other, count, over_at) for each in said):
                        assert fit < count
