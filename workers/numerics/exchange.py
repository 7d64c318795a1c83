"""Moves tensors between the members of a generation, and does nothing else to them.

Every worker talks to every other directly. So when one dies, all the others notice at once: on gloo, ring
collectives leave whoever is not connected to the dead one waiting for the whole timeout. One that is silent
and not dead is noticed by nobody: then whoever knows better aborts the exchange, from another thread.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Protocol

import torch
import torch.distributed as dist
from torch import Tensor

Outgoing = Mapping[int, Sequence[Tensor]]


class Pending(Protocol):
    """Transfers under way. Their tensors must not be touched before `wait` returns."""

    def wait(self) -> None:
        """Return when all transfers are complete.

        Raises:
            PeerLost: a member is gone.
        """


class Exchange(Protocol):
    """One member's connection to the others of its generation."""

    rank: int
    world: int
    device: torch.device

    def swap(self, sends: Outgoing, receives: Outgoing, tag: int) -> Pending:
        """Start to send contiguous tensors to, and receive into contiguous tensors from, each peer.

        Both sides name the same 1-D tensors in the same order; empty ones are not sent. Transfers that
        overlap in time have different tags. Never raises: it is called in the middle of backward passes,
        which must come to their end. What is broken is heard from `wait`.
        """

    def abort(self) -> None:
        """End all transfers under way and to come, with `PeerLost`. From any thread, at any time.

        When it returns, nothing writes into the tensors of any transfer any more.
        """


class PeerLost(Exception):
    """An exchange with another member broke: the generation is over."""


class Alone:
    """The exchange of a generation with one member: there is nobody to send to."""

    rank = 0
    world = 1

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def swap(self, sends: Outgoing, receives: Outgoing, tag: int) -> Pending:
        """Nothing to do: `sends` and `receives` are empty."""
        return _Works(())

    def abort(self) -> None:
        """Nobody waits for anybody."""


class Mesh(Protocol):
    """What is used of torch's process groups; its own stubs leave these methods out."""

    def send(self, tensors: list[Tensor], peer: int, tag: int, /) -> dist.Work:
        """Start to send."""

    def recv(self, tensors: list[Tensor], peer: int, tag: int, /) -> dist.Work:
        """Start to receive."""

    def abort(self) -> None:
        """End all that is under way (NCCL; gloo's does not free anybody who waits)."""

    def _start_coalescing(self, device: torch.device, /) -> None: ...
    def _end_coalescing(self, device: torch.device, /) -> dist.Work: ...


#: No transfer has this tag.
_NEVER_SENT = 2**20


def abort_gloo(group: Mesh, rank: int) -> None:
    """Close all connections of a gloo group: whoever waits in it, in whatever operation, gets an error.

    Gloo does this itself when a receive times out, so wait for something that nobody ever sends.
    """
    try:
        group.recv([torch.empty(1)], 0 if rank else 1, _NEVER_SENT).wait(timedelta(milliseconds=1))
    except RuntimeError:
        return


class GlooExchange:
    """Point-to-point transfers over gloo's full mesh of TCP connections, between CPU tensors."""

    def __init__(self, group: Mesh, rank: int, world: int) -> None:
        self._group, self.rank, self.world = group, rank, world
        self.device = torch.device("cpu")

    def swap(self, sends: Outgoing, receives: Outgoing, tag: int) -> Pending:
        """See `Exchange.swap`. Receives are posted first: data that finds its buffer is not copied twice."""
        works: list[dist.Work] = []
        try:
            works += [self._group.recv([tensor], peer, tag) for peer, tensor in _pairs(receives)]
            works += [self._group.send([tensor], peer, tag) for peer, tensor in _pairs(sends)]
        except RuntimeError as error:
            return _Broken(error)
        return _Works(works)

    def abort(self) -> None:
        """See `Exchange.abort`."""
        abort_gloo(self._group, self.rank)


class NcclExchange:
    """The same transfers over NCCL, between CUDA tensors; one grouped launch per call, in stream order."""

    def __init__(self, group: Mesh, rank: int, world: int, device: torch.device) -> None:
        self._group, self.rank, self.world, self.device = group, rank, world, device

    def swap(self, sends: Outgoing, receives: Outgoing, tag: int) -> Pending:
        """See `Exchange.swap`. NCCL has no tags: it matches calls by their order, equal on all members."""
        try:
            self._group._start_coalescing(self.device)
            for peer, tensor in _pairs(receives):
                self._group.recv([tensor], peer, 0)
            for peer, tensor in _pairs(sends):
                self._group.send([tensor], peer, 0)
            return _Works((self._group._end_coalescing(self.device),))
        except RuntimeError as error:
            return _Broken(error)

    def abort(self) -> None:
        """See `Exchange.abort`."""
        self._group.abort()


class _Works:
    def __init__(self, works: Sequence[dist.Work]) -> None:
        self._works = works

    def wait(self) -> None:
        try:
            for work in self._works:
                work.wait()
        except RuntimeError as error:
            raise PeerLost(str(error)) from error


class _Broken:
    """Transfers that could not even be started."""

    def __init__(self, error: RuntimeError) -> None:
        self._error = error

    def wait(self) -> None:
        raise PeerLost(str(self._error)) from self._error


def _pairs(transfers: Outgoing) -> Iterator[tuple[int, Tensor]]:
    return ((peer, tensor) for peer, tensors in transfers.items() for tensor in tensors if len(tensor))


def all_gather(exchange: Exchange, own: Tensor, others: Mapping[int, Tensor], tag: int) -> Pending:
    """Send `own` to every peer and receive each peer's tensor into `others[peer]`."""
    peers = [rank for rank in range(exchange.world) if rank != exchange.rank]
    return exchange.swap({peer: [own] for peer in peers}, {peer: [others[peer]] for peer in peers}, tag)


def broadcast(exchange: Exchange, tensor: Tensor, source: int, tag: int) -> Pending:
    """Copy `tensor` from the member `source` to all others."""
    if exchange.rank != source:
        return exchange.swap({}, {source: [tensor]}, tag)
    peers = [rank for rank in range(exchange.world) if rank != source]
    return exchange.swap({peer: [tensor] for peer in peers}, {}, tag)
