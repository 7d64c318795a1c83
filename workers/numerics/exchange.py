"""Moves tensors between the members of a generation, and does nothing else to them.

Every worker talks to every other directly. So when one dies, all the others notice at once: on gloo, ring
collectives leave whoever is not connected to the dead one waiting for the whole timeout. One that is silent
and not dead is noticed by nobody: then whoever knows better aborts the exchange, from another thread.
"""

from __future__ import annotations

import queue
import threading
import weakref
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Protocol

import torch
import torch.distributed as dist
from torch import Tensor

Outgoing = Mapping[int, Sequence[Tensor]]


class Pending(Protocol):
    """Transfers under way. Tensors to receive into must not be touched before `wait` returns."""

    def wait(self) -> None:
        """Return when all has arrived here.

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

    def flush(self) -> None:
        """Return when all that was sent so far is on its way: its tensors may be written to again.

        Raises:
            PeerLost: a member is gone, or the exchange was aborted.
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

    def flush(self) -> None:
        """Nothing was sent."""

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


#: Transfers under way, and their tensors, which must live as long.
_Sends = list[tuple[dist.Work, Tensor]]


class SentTransfers:
    """Sends under way, which are waited for in a thread of their own.

    When the connection to a receiver closes in the middle of a large send, gloo frees its sender only after
    the whole timeout. So whoever waits for sends must be able to leave.
    """

    def __init__(self) -> None:
        self._open: _Sends = []
        self._waited = _Waited()
        self._thread: threading.Thread | None = None
        # The thread does not refer to this object: it ends with it, and so do the connections that it holds.
        weakref.finalize(self, self._waited.batches.put, None)

    def add(self, work: dist.Work, tensor: Tensor) -> None:
        """Another one."""
        self._open.append((work, tensor))

    def flush(self) -> None:
        """See `Exchange.flush`."""
        if not self._open:
            return
        sends, self._open = self._open, []
        waited = self._waited
        waited.asked += 1
        if self._thread is None:
            self._thread = threading.Thread(target=_wait_for_all, args=(waited,), name="sends", daemon=True)
            self._thread.start()
        waited.batches.put(sends)
        del sends
        with waited.changed:
            waited.changed.wait_for(lambda: waited.done == waited.asked or waited.error or waited.aborted)
            if waited.error is not None:
                raise PeerLost(str(waited.error)) from waited.error
            if waited.done != waited.asked:
                raise PeerLost("aborted")

    def abort(self) -> None:
        """Nobody waits any more; a thread that gloo keeps is left to it."""
        with self._waited.changed:
            self._waited.aborted = True
            self._waited.changed.notify_all()
        self._waited.batches.put(None)


class _Waited:
    """What whoever adds sends and the thread that waits for them tell each other."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.batches: queue.SimpleQueue[_Sends | None] = queue.SimpleQueue()
        self.asked = self.done = 0
        self.error: RuntimeError | None = None
        self.aborted = False


def _wait_for_all(waited: _Waited) -> None:
    while (sends := waited.batches.get()) is not None:
        try:
            for work, _ in sends:
                work.wait()
                del work
        except RuntimeError as error:
            waited.error = error.with_traceback(None)
        del sends  # while it waits for more, it keeps no connection alive
        with waited.changed:
            waited.done += 1
            waited.changed.notify_all()


class GlooExchange:
    """Point-to-point transfers over gloo's full mesh of TCP connections, between CPU tensors."""

    def __init__(self, group: Mesh, rank: int, world: int) -> None:
        self._group, self.rank, self.world = group, rank, world
        self.device = torch.device("cpu")
        self._sent = SentTransfers()

    def swap(self, sends: Outgoing, receives: Outgoing, tag: int) -> Pending:
        """See `Exchange.swap`. Receives are posted first: data that finds its buffer is not copied twice."""
        try:
            arriving = [self._group.recv([tensor], peer, tag) for peer, tensor in _pairs(receives)]
            for peer, tensor in _pairs(sends):
                self._sent.add(self._group.send([tensor], peer, tag), tensor)
        except RuntimeError as error:
            return _Broken(error)
        return _Works(arriving)

    def flush(self) -> None:
        """See `Exchange.flush`."""
        self._sent.flush()

    def abort(self) -> None:
        """See `Exchange.abort`."""
        abort_gloo(self._group, self.rank)
        self._sent.abort()


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

    def flush(self) -> None:
        """Kernels that write to what was sent come later in the stream: there is nothing to wait for."""

    def abort(self) -> None:
        """See `Exchange.abort`."""
        self._group.abort()


class StagedExchange:
    """Transfers between GPU tensors through CPU memory: for workers that share a GPU, which NCCL refuses.

    Args:
        inner: moves CPU tensors.
        device: where the tensors are.
    """

    def __init__(self, inner: Exchange, device: torch.device) -> None:
        self._inner, self.device = inner, device
        self.rank, self.world = inner.rank, inner.world

    def swap(self, sends: Outgoing, receives: Outgoing, tag: int) -> Pending:
        """See `Exchange.swap`. What is sent is copied at once, so it may be written to again."""
        outgoing = {peer: [tensor.cpu() for tensor in tensors] for peer, tensors in sends.items()}
        staged = {
            peer: [torch.empty_like(tensor, device="cpu") for tensor in tensors]
            for peer, tensors in receives.items()
        }
        return _Staged(self._inner.swap(outgoing, staged, tag), staged, receives)

    def flush(self) -> None:
        """See `Exchange.flush`."""
        self._inner.flush()

    def abort(self) -> None:
        """See `Exchange.abort`."""
        self._inner.abort()


class _Staged:
    def __init__(self, pending: Pending, staged: Outgoing, targets: Outgoing) -> None:
        self._pending, self._staged, self._targets = pending, staged, targets

    def wait(self) -> None:
        self._pending.wait()
        for peer, tensors in self._targets.items():
            for target, tensor in zip(tensors, self._staged[peer], strict=True):
                target.copy_(tensor)


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
