"""Tensors move as they are; whoever loses a peer hears of it at once."""

from __future__ import annotations

import time

import pytest
import torch

from tests.support.groups import connected, in_threads
from workers.numerics.exchange import Exchange, PeerLost, all_gather, broadcast


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
