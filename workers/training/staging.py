"""A copy of a state, or of a worker's part of it, that stays as it is while training goes on.

The memory is kept from one save to the next: fresh memory would cost more than the copying.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import accumulate

import torch
from torch import Tensor

from workers.checkpoint.layout import Piece
from workers.checkpoint.tensors import RawTensor, TensorSpec
from workers.training.replica import octets

_ALIGNMENT = 64


class Staging:
    """Memory for pieces of tensors.

    Args:
        pinned: page-locked, into which a GPU copies at full speed.
    """

    def __init__(self, *, pinned: bool) -> None:
        self._memory = torch.empty(0, dtype=torch.uint8)
        self._pinned = pinned
        self._specs: Mapping[str, TensorSpec] = {}
        self._places: dict[Piece, int] = {}

    @property
    def nbytes(self) -> int:
        """Bytes of memory that are kept."""
        return self._memory.numel()

    def lay_out(self, specs: Mapping[str, TensorSpec], pieces: Iterable[Piece]) -> None:
        """Give each piece its place; what was here before is gone."""
        pieces = list(pieces)
        self._specs = specs
        sizes = [self._size(piece) for piece in pieces]
        starts = [0, *accumulate(-(-size // _ALIGNMENT) * _ALIGNMENT for size in sizes)]
        self._places = dict(zip(pieces, starts, strict=False))
        if starts[-1] > self._memory.numel():
            self._memory = torch.empty(0, dtype=torch.uint8)  # first, so that both are never there
            self._memory = torch.empty(starts[-1], dtype=torch.uint8, pin_memory=self._pinned)

    def copy(self, tensors: Mapping[str, Tensor], pieces: Iterable[Piece]) -> None:
        """Copy pieces of these tensors, as they are now, to their places."""
        for piece in pieces:
            item, size = self._specs[piece.key].item_bytes, self._size(piece)
            if size:
                found = octets(tensors[piece.key])[piece.start * item : piece.stop * item]
                begin = self._places[piece]
                self._memory[begin : begin + size].copy_(found)

    def raw(self, piece: Piece) -> RawTensor:
        """A piece, as it was copied: in the shape of its tensor if it is all of it, else flat."""
        spec, begin = self._specs[piece.key], self._places[piece]
        whole = piece.start == 0 and piece.stop == spec.elements
        return RawTensor(
            dtype=spec.dtype,
            shape=spec.shape if whole else (piece.stop - piece.start,),
            data=self._memory[begin : begin + self._size(piece)].numpy().data,
        )

    def _size(self, piece: Piece) -> int:
        return (piece.stop - piece.start) * self._specs[piece.key].item_bytes
