"""The tree reduction: flat gradients in, their sum over all virtual ranks out, the same bits for any W.

Two phases of pure data movement around one fold:

    all-to-all   each worker sends slice j of each of its partial sums to worker j
    fold         worker j adds its slice of all partials in tree order, then divides once
    all-gather   each worker sends its finished slice to all others

When every worker holds one partial, the bytes are those of a ring all-reduce.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from workers.numerics.exchange import Exchange, Pending, all_gather
from workers.numerics.tree import Node, fold, partial_nodes

#: Slices start at multiples of a cache line (64 bytes of float32), so that additions run on whole vectors.
_SLICE_ALIGN = 16
#: Tags of the two phases of buffer b: 2b and 2b + 1, above those of other messages.
TAG_BASE = 16


@dataclass(frozen=True, kw_only=True)
class Reduction:
    """One flat buffer on its way through phase one."""

    number: int
    out: Tensor
    partials: Mapping[Node, Tensor]  # this worker's slice of every worker's partial sums
    scatter: Pending


class TreeReducer:
    """Sums flat tensors over the virtual ranks of one generation.

    Args:
        exchange: this worker's connection to the other members.
        hosted: virtual ranks by DDP rank.
    """

    def __init__(self, exchange: Exchange, hosted: Sequence[Sequence[int]]) -> None:
        self._exchange = exchange
        self.leaves = sum(len(vranks) for vranks in hosted)
        self._nodes = [partial_nodes(vranks, self.leaves) for vranks in hosted]
        self._buffers: dict[tuple[int, Node], Tensor] = {}

    @property
    def nodes(self) -> tuple[Node, ...]:
        """The tree nodes whose sums this worker brings."""
        return self._nodes[self._exchange.rank]

    def start(self, number: int, partials: Mapping[Node, Tensor], out: Tensor) -> Reduction:
        """Phase one of buffer `number`.

        Args:
            number: counts the buffers of one step from 0; equal on all workers.
            partials: this worker's sums by tree node, each 1-D, of equal length and dtype on all workers.
            out: where the result goes; may be one of the partials. All tensors belong to the reduction until
                `finish` returns.
        """
        rank, slices = self._exchange.rank, self._slices(out.numel())
        peers = [peer for peer in range(self._exchange.world) if peer != rank]
        received = {
            peer: {node: self._buffer(number, node, out, slices[rank]) for node in self._nodes[peer]}
            for peer in peers
        }
        scatter = self._exchange.swap(
            {peer: [partials[node][slices[peer]] for node in self.nodes] for peer in peers},
            {peer: list(buffers.values()) for peer, buffers in received.items()},
            TAG_BASE + 2 * number,
        )
        mine = {node: partials[node][slices[rank]] for node in self.nodes}
        for buffers in received.values():
            mine |= buffers
        return Reduction(number=number, out=out, partials=mine, scatter=scatter)

    def finish(self, reductions: Sequence[Reduction], divisor: float) -> None:
        """The fold, one division of the root by `divisor`, and phase two; fills every `out`."""
        gathers = []
        for reduction in reductions:
            reduction.scatter.wait()
            gathers.append(self._fold_and_gather(reduction, divisor))
        for gather in gathers:
            gather.wait()

    def _fold_and_gather(self, reduction: Reduction, divisor: float) -> Pending:
        slices = self._slices(reduction.out.numel())
        mine = reduction.out[slices[self._exchange.rank]]
        torch.div(fold(reduction.partials, self.leaves, Tensor.add_), divisor, out=mine)
        others = {rank: reduction.out[part] for rank, part in enumerate(slices)}
        return all_gather(self._exchange, mine, others, TAG_BASE + 2 * reduction.number + 1)

    def _slices(self, length: int) -> list[slice]:
        world = self._exchange.world
        step = -(-length // (world * _SLICE_ALIGN)) * _SLICE_ALIGN
        return [slice(min(i * step, length), min((i + 1) * step, length)) for i in range(world)]

    def _buffer(self, number: int, node: Node, like: Tensor, part: slice) -> Tensor:
        """A receive buffer that is kept from step to step: fresh pages cost more than the transfer."""
        length = part.stop - part.start
        buffer = self._buffers.get((number, node))
        if buffer is None or buffer.numel() != length or buffer.dtype != like.dtype:
            buffer = self._buffers[number, node] = torch.empty(length, dtype=like.dtype, device=like.device)
        return buffer
