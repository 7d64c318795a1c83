"""Reading a checkpoint together: every member reads and verifies its share of the chunks, and hands it on."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from workers.checkpoint.layout import Chunk, assign
from workers.checkpoint.manifest import Manifest
from workers.checkpoint.objects import in_parallel, read_chunk
from workers.checkpoint.tensors import RawTensor
from workers.numerics.exchange import Exchange
from workers.storage import Store

_TAG = 4


def read_together(exchange: Exchange, store: Store, manifest: Manifest) -> dict[str, RawTensor]:
    """All tensors of a checkpoint by key, each in memory of its own; each chunk is fetched by one member. All
    members call this at once.

    Raises:
        CheckpointError: a chunk of this member's share is missing or altered.
        PeerLost: a member is gone, or could not read its share.
    """
    flats = {key: torch.empty(spec.nbytes, dtype=torch.uint8) for key, spec in manifest.tensors.items()}
    chunks = [Chunk(pieces=it.pieces, nbytes=it.size, frozen=False) for it in manifest.chunks]
    shares = assign(chunks, exchange.world)

    def read(number: int) -> None:
        for piece, data in read_chunk(store, manifest, number):
            if len(data):
                begin = piece.start * manifest.tensors[piece.key].item_bytes
                place = flats[piece.key].numpy()[begin : begin + len(data)]
                place[:] = np.frombuffer(data, dtype=np.uint8)

    for _ in in_parallel(read, shares[exchange.rank]):
        pass
    for turn in range(max(map(len, shares))):
        held = {
            rank: _parts(flats, manifest, numbers[turn])
            for rank, numbers in enumerate(shares)
            if turn < len(numbers)
        }
        _swap(exchange, held)
    return {
        key: RawTensor(dtype=spec.dtype, shape=spec.shape, data=flats[key].numpy().data)
        for key, spec in manifest.tensors.items()
    }


def _parts(flats: Mapping[str, Tensor], manifest: Manifest, number: int) -> list[Tensor]:
    """Where the pieces of a chunk belong, as parts of the tensors."""
    parts = []
    for key, start, stop in manifest.chunks[number].pieces:
        item = manifest.tensors[key].item_bytes
        parts.append(flats[key][start * item : stop * item])
    return parts


def _swap(exchange: Exchange, held: Mapping[int, list[Tensor]]) -> None:
    """Give what this rank holds to all others, and take what they hold."""
    device, rank = exchange.device, exchange.rank
    own = [part.to(device) for part in held.get(rank, [])]
    sends = {peer: own for peer in range(exchange.world) if peer != rank and own}
    targets = {peer: parts for peer, parts in held.items() if peer != rank}
    receives = {peer: [part.to(device) for part in parts] for peer, parts in targets.items()}
    exchange.swap(sends, receives, _TAG).wait()
    exchange.flush()
    for peer, parts in targets.items():
        for part, received in zip(parts, receives[peer], strict=True):
            if received is not part:
                part.copy_(received)
