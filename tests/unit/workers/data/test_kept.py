"""A reader keeps what it used last, as much as there is room for."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from workers.data.flights import Flight
from workers.data.kept import KeptBlocks

SIZES = st.integers(1, 50)


@settings(max_examples=300, deadline=None)
@given(
    own=st.integers(0, 100),
    mapped=st.integers(0, 100),
    acts=st.lists(st.tuples(st.sampled_from(["want", "map", "fail"]), st.integers(0, 8), SIZES), max_size=60),
)
def test_room_is_kept_to_and_the_least_recently_used_goes_first(
    own: int, mapped: int, acts: list[tuple[str, int, int]]
) -> None:
    kept = KeptBlocks(own, mapped)
    model: dict[int, Flight] = {}  # least recently used first

    def room() -> None:
        while len(model) > 1 and (
            sum(it.size_bytes for it in model.values() if not it.mapped) > own
            or sum(it.size_bytes for it in model.values() if it.mapped) > mapped
        ):
            del model[next(iter(model))]

    for act, block, size in acts:
        found = kept.get(block)
        there = model.get(block)
        assert found is (there if there is not None and not there.failed else None)
        if found is not None:
            model[block] = model.pop(block)
        if act == "want" and found is None:
            flight = Flight(block, size)
            kept.put(flight)
            model.pop(block, None)
            model[block] = flight
        elif act == "map" and found is not None:
            found.mapped = True
            kept.arrived(found)
            kept.arrived(found)
        elif act == "fail" and found is not None:
            found.failed = True
        room()


def test_what_was_pushed_out_before_it_arrived_takes_no_room() -> None:
    kept = KeptBlocks(10, 10)
    first, second = Flight(1, 10), Flight(2, 10)
    kept.put(first)
    kept.put(second)
    first.mapped = True
    kept.arrived(first)
    assert kept.get(1) is None
    assert kept.get(2) is second
    second.mapped = True
    kept.arrived(second)
    third = Flight(3, 10)
    kept.put(third)
    assert kept.get(2) is second
    assert kept.get(3) is third
