"""Tensors move as they are; whoever loses a peer hears of it at once."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest
import torch

from tests.support.groups import connected, in_threads
from workers.numerics.exchange import Exchange, PeerLost, StagedExchange, all_gather, broadcast


def gathered(exchange: Exchange, own: torch.Tensor, lengths: list[int]) -> list[list[float]]:
    others = {rank: torch.full((length,), -1.0) for rank, length in enumerate(lengths)}
    all_gather(exchange, own, others, tag=7).wait()
    others[exchange.rank] = own
    return [others[rank].tolist() for rank in range(exchange.world)]


@pytest.mark.parametrize("lengths", [[4], [3, 1], [2, 0, 5], [0, 0, 0], [1, 2, 3, 4]])
def test_all_gather_gives_everybody_everything_also_when_some_have_nothing(lengths):
    exchanges = connected(len(lengths))
    own = [torch.arange(float(length)) + 10 * rank for rank, length in enumerate(lengths)]
    results = in_threads([lambda e=e: gathered(e, own[e.rank], lengths) for e in exchanges])
    assert results == [[tensor.tolist() for tensor in own]] * len(lengths)


@pytest.mark.parametrize("source", [0, 1, 2])
def test_broadcast_copies_the_sources_bytes_and_changes_nothing_there(source):
    exchanges = connected(3)
    tensors = [torch.full((9,), rank, dtype=torch.uint8) for rank in range(3)]
    in_threads([lambda e=e: broadcast(e, tensors[e.rank], source, tag=1).wait() for e in exchanges])
    assert [tensor.tolist() for tensor in tensors] == [[source] * 9] * 3


def test_transfers_with_different_tags_do_not_mix_whatever_their_order():
    one, other = connected(2)
    first, second = torch.zeros(1), torch.zeros(1)
    sends = [one.swap({1: [torch.tensor([float(tag)])]}, {}, tag) for tag in (5, 6)]
    for tensor, tag in ((second, 6), (first, 5)):
        other.swap({}, {0: [tensor]}, tag).wait()
    for send in sends:
        send.wait()
    assert (first.item(), second.item()) == (5.0, 6.0)


def test_an_exchange_that_nobody_has_any_more_leaves_no_thread_and_no_connection():
    def use(exchange: Exchange) -> None:
        gathered(exchange, torch.ones(4), [4, 4, 4])
        exchange.flush()

    before = set(Path("/proc/self/task").iterdir())
    exchanges = connected(3)
    in_threads([lambda e=e: use(e) for e in exchanges])
    assert set(Path("/proc/self/task").iterdir()) > before
    exchanges.clear()
    deadline = time.monotonic() + 20
    while not set(Path("/proc/self/task").iterdir()) <= before and time.monotonic() < deadline:
        time.sleep(0.02)
    assert set(Path("/proc/self/task").iterdir()) <= before


def test_survivors_hear_of_a_lost_peer_at_once_and_not_after_the_timeout():
    patience = 60.0
    exchanges = connected(3, patience)
    waiting = [exchanges[rank].swap({}, {2: [torch.zeros(4)]}, 1) for rank in (0, 1)]
    begin = time.monotonic()
    del exchanges[2]  # its connections close, as when its process dies
    for pending in waiting:
        with pytest.raises(PeerLost):
            pending.wait()
    assert time.monotonic() - begin < patience / 2
    with pytest.raises(PeerLost):
        exchanges[0].swap({2: [torch.zeros(4)]}, {}, 2).wait()


PATIENCE = 20.0


def parted(world: int) -> list[Exchange]:
    """A group whose last member has gone, which the others have noticed."""
    exchanges = connected(world, PATIENCE)
    waiting = [e.swap({}, {world - 1: [torch.zeros(4)]}, 1) for e in exchanges[:-1]]
    del exchanges[-1]
    for pending in waiting:
        with pytest.raises(PeerLost):
            pending.wait()
    return exchanges


@pytest.mark.parametrize("peer", [1, 2])
@pytest.mark.parametrize("direction", ["send", "receive", "both"])
def test_a_transfer_in_a_broken_group_does_not_raise_before_somebody_waits_for_it(peer, direction):
    """It is started in backward passes, and an error there would leave them half done."""
    one, other = parted(3)
    one.abort()
    other.abort()
    transfer = {peer: [torch.zeros(4)]}
    sends = transfer if direction != "receive" else {}
    receives = transfer if direction != "send" else {}
    pending = one.swap(sends, receives, 2)
    with pytest.raises(PeerLost):
        pending.wait()


@pytest.mark.parametrize("rank", [0, 1, 2])
def test_an_abort_frees_whoever_waits_at_once_and_not_after_the_timeout(rank):
    """Nobody is dead: the other two just do not send anything."""
    exchanges = connected(3, PATIENCE)
    peers = [peer for peer in range(3) if peer != rank]
    waiting, freed = threading.Event(), []
    pending = exchanges[rank].swap({}, {peer: [torch.zeros(4)] for peer in peers}, 1)

    def wait() -> None:
        waiting.set()
        with pytest.raises(PeerLost):
            pending.wait()
        freed.append(time.monotonic())

    waiter = threading.Thread(target=wait)
    waiter.start()
    waiting.wait()
    begin = time.monotonic()
    exchanges[rank].abort()
    waiter.join(PATIENCE / 2)
    assert len(freed) == 1, "still waiting"
    assert freed[0] - begin < PATIENCE / 4  # milliseconds, on a machine that has time
    for peer in peers:
        with pytest.raises(PeerLost):
            exchanges[peer].swap({}, {rank: [torch.zeros(4)]}, 1).wait()


def test_after_an_abort_all_that_follows_is_broken_and_another_abort_does_no_harm():
    one, other = connected(2, PATIENCE)
    for _ in range(3):
        one.abort()
        with pytest.raises(PeerLost):
            one.swap({1: [torch.zeros(4)]}, {}, 1).wait()
    other.abort()


def test_an_abort_of_nobody_but_oneself_is_nothing():
    (alone,) = connected(1)
    alone.abort()
    alone.swap({}, {}, 1).wait()


@pytest.mark.parametrize("head_start", [0, 1, 4, 16])
def test_nothing_is_written_into_a_tensor_after_its_transfer_was_aborted(head_start):
    """A peer that is alive may be sending all the time."""
    one, other = connected(2, PATIENCE)
    targets = [torch.zeros(2**20) for _ in range(32)]
    receiving = [one.swap({}, {1: [target]}, tag) for tag, target in enumerate(targets)]
    sources = [torch.ones(2**20) for _ in targets]
    sending = [other.swap({0: [source]}, {}, tag) for tag, source in enumerate(sources)]
    for pending in receiving[:head_start]:
        pending.wait()
    one.abort()
    before = [target.clone() for target in targets]
    with pytest.raises(PeerLost):
        other.swap({}, {0: [torch.zeros(1)]}, 99).wait()  # it knows, and sends nothing any more
    for target, seen in zip(targets, before, strict=True):
        assert torch.equal(target, seen)
    assert len(sending) == len(targets)


def test_whoever_sends_much_to_a_peer_that_is_gone_is_freed_by_an_abort():
    """Gloo itself frees a sender in the middle of a large transfer only after the whole timeout."""
    one, other = connected(2, PATIENCE)
    targets = [torch.zeros(2**20) for _ in range(16)]
    sources = [torch.ones(2**20) for _ in targets]
    receiving = [one.swap({}, {1: [target]}, tag) for tag, target in enumerate(targets)]
    for tag, source in enumerate(sources):
        other.swap({0: [source]}, {}, tag).wait()
    receiving[0].wait()
    one.abort()
    begin, freed = time.monotonic(), []

    def flush() -> None:
        with suppress(PeerLost):
            other.flush()
        freed.append(time.monotonic())

    waiter = threading.Thread(target=flush)
    waiter.start()
    other.abort()
    waiter.join(PATIENCE / 2)
    assert freed, "still waiting"
    assert freed[0] - begin < PATIENCE / 4


def test_what_was_flushed_may_be_written_to_again():
    one, other = connected(2)
    source, target = torch.ones(2**22), torch.zeros(2**22)
    arriving = other.swap({}, {0: [target]}, 1)
    one.swap({1: [source]}, {}, 1).wait()
    one.flush()
    source.fill_(-1.0)
    arriving.wait()
    assert torch.equal(target, torch.ones(2**22))


def test_staged_transfers_arrive_as_they_are_and_leave_their_sources_free():
    exchanges = [StagedExchange(e, torch.device("cpu")) for e in connected(3)]

    def member(exchange: StagedExchange) -> list[list[float]]:
        own = torch.full((5,), float(exchange.rank))
        others = {rank: torch.zeros(5) for rank in range(3)}
        pending = all_gather(exchange, own, others, tag=7)
        pending.wait()
        exchange.flush()
        return [others[rank].tolist() for rank in range(3) if rank != exchange.rank]

    found = in_threads([lambda e=e: member(e) for e in exchanges])
    assert found == [[[float(other)] * 5 for other in range(3) if other != rank] for rank in range(3)]


def test_a_staged_exchange_is_aborted_with_the_one_beneath():
    one, _other = (StagedExchange(e, torch.device("cpu")) for e in connected(2, PATIENCE))
    target = torch.zeros(4)
    pending = one.swap({}, {1: [target]}, 1)
    one.abort()
    with pytest.raises(PeerLost):
        pending.wait()
    assert target.tolist() == [0.0] * 4
