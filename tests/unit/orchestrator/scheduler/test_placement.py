from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.scheduler.placement import choose, enough, extend
from orchestrator.scheduler.room import Room
from orchestrator.scheduler.snapshot import Resources, Within
from tests.support.examples import examples
from tests.support.tiny_cluster import gpus, job, node


def room_of(sizes, zones=None, **fields):
    """Empty nodes of so many GPUs, in these zones."""
    zones = zones or "a" * len(sizes)
    nodes = [
        node(f"n{i}", size, zone=zone, **fields)
        for i, (size, zone) in enumerate(zip(sizes, zones, strict=True))
    ]
    free = np.array([[n.capacity.amounts for n in nodes]] * 2, dtype=np.int64).reshape(2, len(nodes), 3)
    return Room(nodes, [0.0, 0.0], free)


def chosen(room, workers, within=Within.ANYWHERE, **fields):
    shape = room.shape(job("j", **fields))
    return choose(room.window(shape, 0, 2), workers, within, room, shape)


SIZES = st.lists(st.integers(0, 8), min_size=1, max_size=7)


@examples(300)
@given(SIZES, st.data())
def test_a_gang_is_placed_if_and_only_if_there_is_room_and_as_near_as_can_be(sizes, data):
    zones = [data.draw(st.sampled_from("abc")) for _ in sizes]
    workers, within = data.draw(st.integers(1, 20)), data.draw(st.sampled_from(list(Within)))
    room = room_of(sizes, zones)
    by_zone = {zone: sum(s for s, z in zip(sizes, zones, strict=True) if z == zone) for zone in zones}
    on_one, in_one = max(sizes) >= workers, max(by_zone.values()) >= workers
    possible = {Within.NODE: on_one, Within.ZONE: in_one, Within.ANYWHERE: sum(sizes) >= workers}[within]
    shape = room.shape(job("j"))
    slots = room.window(shape, 0, 2)
    assert enough(slots, workers, within, room) == possible
    spots = choose(slots, workers, within, room, shape)
    assert (spots is not None) == possible
    if spots is None:
        return
    assert sum(spots.values()) == workers
    assert all(0 < count <= sizes[n] for n, count in spots.items())
    assert (len(spots) == 1) == on_one
    if on_one:
        assert sizes[next(iter(spots))] == min(size for size in sizes if size >= workers)
    if in_one:
        assert len({zones[n] for n in spots}) == 1


@examples(200)
@given(SIZES, st.data())
def test_more_workers_of_a_job_go_where_it_is_already(sizes, data):
    zones = [data.draw(st.sampled_from("ab")) for _ in sizes]
    room, home = room_of(sizes, zones), data.draw(st.integers(0, len(sizes) - 1))
    within, wanted = data.draw(st.sampled_from(list(Within))), data.draw(st.integers(1, 20))
    shape = room.shape(job("j"))
    more = extend(room.window(shape, 0, 2), {home: 1}, wanted, within, room, shape)
    reach = {
        Within.NODE: sizes[home],
        Within.ZONE: sum(s for s, z in zip(sizes, zones, strict=True) if z == zones[home]),
        Within.ANYWHERE: sum(sizes),
    }[within]
    assert sum(more.values()) == min(wanted, reach)
    assert all(0 < count <= sizes[n] for n, count in more.items())
    assert more.get(home, 0) == min(wanted, sizes[home])


def test_the_last_workers_of_a_gang_fill_the_tightest_gap():
    assert chosen(room_of([8, 8, 3, 2]), 10) == {0: 8, 3: 2}


def test_two_zones_are_used_when_one_has_too_little_room_the_larger_first():
    assert chosen(room_of([4, 8, 8], "abb"), 18) == {1: 8, 2: 8, 0: 2}


def test_a_job_without_gpus_leaves_nodes_with_gpus_alone():
    nodes = [node("g", 2), node("c", capacity=Resources(cpu_millis=64_000))]
    free = np.array([[n.capacity.amounts for n in nodes]] * 2, dtype=np.int64)
    room = Room(nodes, [0.0, 0.0], free)
    assert chosen(room, 1, request=Resources(cpu_millis=1000)) == {1: 1}


def test_only_nodes_with_the_labels_are_used():
    nodes = [node("a", 8), node("b", 8, labels={"gpu": "h100", "rack": "7"})]
    free = np.array([[n.capacity.amounts for n in nodes]] * 2, dtype=np.int64)
    room = Room(nodes, [0.0, 0.0], free)
    assert chosen(room, 2, selector={"gpu": "h100"}) == {1: 2}
    assert chosen(room, 9, selector={"gpu": "h100"}) is None


@pytest.mark.parametrize(("request_", "fit"), [(gpus(2), 4), (Resources(cpu_millis=3000), 5)])
def test_the_scarcest_kind_decides(request_, fit):
    room = room_of([8])
    assert room.slots(room.shape(job("j", request=request_)))[0].tolist() == [fit]
