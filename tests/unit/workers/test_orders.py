"""What a worker was told, as its engine wants to know it: a newer generation ends all waits of older ones."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from workers.numerics.exchange import PeerLost
from workers.orders import Orders
from workers.protocol import CheckpointCommitted, Hold, Membership

PATIENCE = 30.0


def membership(generation: int, committed_step: int = 0) -> Membership:
    return Membership(
        generation=generation, workers=("a",), hosted=((0,),), store="-", committed_step=committed_step
    )


def meanwhile(wait: Callable[[], object], act: Callable[[], object]) -> object:
    """What a wait in another thread comes to, when this is done meanwhile."""
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(wait)
        act()
        return waiting.result(PATIENCE)


def test_an_engine_waits_for_a_generation_that_it_does_not_know_yet():
    orders = Orders()
    first = membership(0)
    assert meanwhile(lambda: orders.next_membership(after=-1), lambda: orders.apply(first)) is first
    assert orders.next_membership(after=-1) is first
    second = membership(3)
    assert meanwhile(lambda: orders.next_membership(after=0), lambda: orders.apply(second)) is second


def test_of_several_generations_only_the_newest_counts_in_whatever_order_they_come():
    orders = Orders()
    for generation in (0, 2, 1, 2):
        orders.apply(membership(generation))
    assert orders.next_membership(after=-1).generation == 2
    assert orders.superseded(1)
    assert not orders.superseded(2)


def test_before_the_first_generation_nothing_is_superseded():
    assert not Orders().superseded(-1)


def test_who_wants_to_be_ended_by_a_newer_generation_is_ended_once():
    orders, ended = Orders(), []
    orders.apply(membership(0))
    orders.when_superseded(0, lambda: ended.append(0))
    orders.apply(membership(0))
    orders.apply(Hold(generation=0))
    assert ended == []
    orders.apply(membership(1))
    orders.apply(membership(2))
    assert ended == [0]


def test_who_comes_too_late_with_that_wish_is_ended_at_once():
    orders, ended = Orders(), []
    orders.apply(membership(1))
    orders.when_superseded(0, lambda: ended.append(0))
    assert ended == [0]
    orders.apply(membership(2))
    assert ended == [0]


def test_what_ends_a_generation_may_itself_look_at_the_orders():
    orders, seen = Orders(), []
    orders.when_superseded(-1, lambda: seen.append(orders.next_membership(after=-1).generation))
    orders.apply(membership(0))
    assert seen == [0]


def test_a_later_wish_takes_the_place_of_an_earlier_one():
    orders, ended = Orders(), []
    orders.when_superseded(0, lambda: ended.append("first"))
    orders.when_superseded(0, lambda: ended.append("second"))
    orders.apply(membership(1))
    assert ended == ["second"]


def test_a_new_supervisor_can_ask_what_was_told_last():
    orders = Orders()
    assert orders.newest() == (None, None)
    orders.apply(membership(0))
    orders.apply(membership(2))
    orders.apply(membership(1))
    orders.apply(Hold(generation=2))
    assert orders.newest() == (membership(2), Hold(generation=2))


def test_a_hold_is_for_one_generation():
    orders = Orders()
    assert orders.hold(0) is None
    orders.apply(Hold(generation=1))
    assert (orders.hold(0), orders.hold(1), orders.hold(2)) == (None, Hold(generation=1), None)
    orders.apply(Hold(generation=1, save=True))
    assert orders.hold(1) == Hold(generation=1, save=True)


def test_a_save_waits_until_the_one_before_it_is_committed():
    orders = Orders()
    orders.apply(membership(0))
    orders.wait_for(lambda: orders.is_committed(0), generation=0)

    def commit() -> None:
        orders.apply(CheckpointCommitted(step=5))
        orders.apply(CheckpointCommitted(step=10))

    meanwhile(lambda: orders.wait_for(lambda: orders.is_committed(10), generation=0), commit)
    orders.apply(CheckpointCommitted(step=5))
    orders.wait_for(lambda: orders.is_committed(10), generation=0)


def test_what_was_committed_while_a_worker_could_not_hear_it_is_told_by_the_next_membership():
    orders = Orders()
    orders.apply(membership(0, committed_step=5))
    orders.wait_for(lambda: orders.is_committed(5), generation=0)
    orders.apply(membership(0, committed_step=10))
    orders.wait_for(lambda: orders.is_committed(10), generation=0)


def test_a_newer_generation_ends_every_wait_of_an_older_one():
    orders = Orders()
    orders.apply(membership(0))
    for wait in (
        lambda: orders.wait_for(lambda: orders.is_committed(5), generation=0),
        lambda: orders.wait_for(bool, generation=0),
    ):
        with pytest.raises(PeerLost, match="newer generation"):
            meanwhile(wait, lambda: orders.apply(membership(1)))


def test_what_holds_already_needs_no_wait_even_in_an_old_generation():
    orders = Orders()
    orders.apply(membership(1, committed_step=5))
    orders.wait_for(lambda: orders.is_committed(5), generation=0)


def test_a_condition_is_looked_at_again_when_somebody_says_so():
    orders, arrived = Orders(), []

    def arrive() -> None:
        arrived.append(1)
        orders.wake()

    meanwhile(lambda: orders.wait_for(lambda: bool(arrived), generation=0), arrive)
