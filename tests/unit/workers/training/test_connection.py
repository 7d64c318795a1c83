"""A connection ends with its generation: as soon as a newer one is known, whoever waits for whatever."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from tests.support.groups import connected
from workers.numerics.exchange import Exchange, PeerLost
from workers.orders import Orders
from workers.protocol import Membership
from workers.training.connection import connection

PATIENCE = 20.0


def orders(generation: int = 0) -> Orders:
    told = Orders()
    supersede(told, generation)
    return told


def supersede(told: Orders, generation: int) -> None:
    told.apply(Membership(generation=generation, workers=("a", "b"), hosted=((0,), (1,)), store="-"))


def hears_of_the_end(exchange: Exchange) -> bool:
    """Whether the connection to the only peer is cut."""
    try:
        exchange.swap({}, {1 - exchange.rank: [torch.zeros(1)]}, 7).wait()
    except PeerLost:
        return True
    return False


def test_inside_the_block_it_is_connected_and_afterwards_no_transfer_is_alive():
    one, other = connected(2, PATIENCE)
    target = torch.zeros(1)
    with connection(lambda: one, orders(), 0) as exchange:
        assert exchange is one
        sending = other.swap({0: [torch.ones(1)]}, {}, 3)
        exchange.swap({}, {1: [target]}, 3).wait()
        sending.wait()
        left_open = exchange.swap({}, {1: [torch.zeros(1)]}, 4)
    assert target.item() == 1.0
    with pytest.raises(PeerLost):
        left_open.wait()
    assert hears_of_the_end(one)
    assert hears_of_the_end(other), "a peer that still sends must not reach the next generation's tensors"


def test_an_error_in_the_block_cuts_it_too():
    one, other = connected(2, PATIENCE)
    with pytest.raises(ZeroDivisionError), connection(lambda: one, orders(), 0):
        raise ZeroDivisionError
    assert hears_of_the_end(other)


@pytest.mark.parametrize("error", [PeerLost("nobody there"), ZeroDivisionError()])
def test_what_keeps_it_from_connecting_is_told(error):
    def connect() -> Exchange:
        raise error

    with pytest.raises(type(error)), connection(connect, orders(), 0):
        raise AssertionError("connected")


def test_a_newer_generation_ends_a_wait_to_connect_and_a_late_connection_is_cut():
    one, other = connected(2, PATIENCE)
    told, begun, go_on = orders(), threading.Event(), threading.Event()

    def connect() -> Exchange:
        begun.set()
        go_on.wait(PATIENCE)
        return one

    def attempt() -> None:
        with connection(connect, told, 0):
            raise AssertionError("connected")

    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(attempt)
        assert begun.wait(PATIENCE)
        supersede(told, 1)
        with pytest.raises(PeerLost, match="newer generation"):
            waiting.result(PATIENCE / 2)
    go_on.set()
    assert hears_of_the_end(other)


def test_a_newer_generation_ends_a_wait_for_a_silent_peer():
    one, _silent = connected(2, PATIENCE)
    told, waits = orders(), threading.Event()

    def receive() -> float:
        with connection(lambda: one, told, 0) as exchange:
            pending = exchange.swap({}, {1: [torch.zeros(1)]}, 3)
            waits.set()
            with pytest.raises(PeerLost):
                pending.wait()
            return time.monotonic()

    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(receive)
        assert waits.wait(PATIENCE)
        begin = time.monotonic()
        supersede(told, 1)
        assert waiting.result(PATIENCE / 2) - begin < PATIENCE / 4


def test_one_that_is_out_of_date_before_it_begins_is_not_begun():
    one, other = connected(2, PATIENCE)
    go_on = threading.Event()

    def connect() -> Exchange:
        go_on.wait(PATIENCE)
        return one

    with pytest.raises(PeerLost, match="newer generation"), connection(connect, orders(5), 4):
        raise AssertionError("connected")
    go_on.set()
    assert hears_of_the_end(other)


def test_one_that_is_superseded_just_after_it_connected_is_cut_inside_the_block():
    one, other = connected(2, PATIENCE)
    told = orders()

    def connect() -> Exchange:
        return one

    with connection(connect, told, 0) as exchange:
        supersede(told, 0)
        supersede(told, 1)
        assert hears_of_the_end(exchange)
        assert hears_of_the_end(other)
