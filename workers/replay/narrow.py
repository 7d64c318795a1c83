"""Which samples of a micro-batch make a loss or gradient that is not finite, each by itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import nn

from workers.data.samples import Addresses
from workers.numerics.randomness import seed_everything
from workers.protocol import TrainJob
from workers.recipe import Batch
from workers.replay.finite import kind_of
from workers.training.replica import Replica
from workers.training.step import call_loss
from workers.training.training_data import StoredData


def culprits(
    job: TrainJob, replica: Replica, data: StoredData, addresses: Addresses, step: int, vrank: int
) -> tuple[tuple[int, ...], str] | None:
    """Positions of the samples in the micro-batch, and the model's mode in which that was seen.

    Each sample is a batch of its own here. In evaluation mode first: normalisation over a batch of one is
    another thing than over many, and drops other activations. Then in training mode, as far as that goes.

    Args:
        data: the training data.
        addresses: of the whole micro-batch.
        step: counted from 0; the replica's state is the one before it.

    Returns:
        None if none of them does so by itself.
    """
    batches = [data.read(step, addresses.part(i, 1)) for i in range(len(addresses))]
    for mode in ("eval", "train"):
        with _untouched(replica.model, training=mode == "train"):
            bad = [
                position
                for position, batch in enumerate(batches)
                if _is_bad(replica, batch, ("step", job.seed, step, vrank))
            ]
        if bad:
            return tuple(bad), mode
    return None


def _is_bad(replica: Replica, batch: Batch, stream: Sequence[int | str]) -> bool:
    """Without DDP, and without a trace in `parameter.grad`."""
    seed_everything(*stream)
    trained = [parameter for parameter in replica.model.parameters() if parameter.requires_grad]
    try:
        loss, _ = call_loss(replica.recipe, replica.model, batch)
        if kind_of(loss.detach()) is not None:
            return True
        gradients = torch.autograd.grad(loss, trained, allow_unused=True)
    except Exception:  # a batch of one, or this mode, is more than the recipe has to be able to do
        return False
    return any(kind_of(gradient) is not None for gradient in gradients)


@contextmanager
def _untouched(model: nn.Module, *, training: bool) -> Iterator[None]:
    """The model in a mode; mode and buffers are as before when the block is left."""
    modes = {module: module.training for module in model.modules()}
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
    model.train(training)
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode
        with torch.no_grad():
            for buffer, before in buffers:
                buffer.copy_(before)
