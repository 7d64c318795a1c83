"""Discarded passes before the first step, so that no step is special.

They build DDP's buckets (which it lays out anew after the first backward pass), show which parameters and
values a recipe uses, and find most mistakes in a recipe before a generation is formed. Nothing of them stays.
"""

from __future__ import annotations

import gc
from dataclasses import dataclass

import torch

from workers.numerics.buffers import StepBuffers
from workers.numerics.ddp import ElasticDDP
from workers.numerics.randomness import seed_everything
from workers.recipe import Batch
from workers.training.replica import Replica
from workers.training.step import call_loss


@dataclass(frozen=True, kw_only=True)
class WarmUp:
    """What the passes showed."""

    value_names: tuple[str, ...]  # returned by the recipe's loss beside the loss, sorted
    unused_parameters: tuple[str, ...]  # trained parameters that the loss did not reach


def warm_up_elastic(
    replica: Replica, buffers: StepBuffers, batch: Batch, seed: int
) -> tuple[ElasticDDP, WarmUp]:
    """Wrap a replica's model and warm it up."""
    ddp = ElasticDDP(replica.model)
    found = passes(replica, ddp.module, buffers, batch, seed)
    if found.unused_parameters:
        del ddp
        gc.collect()  # the first wrapper's hooks go with it
        ddp = ElasticDDP(replica.model, unused_parameters=True)
        passes(replica, ddp.module, buffers, batch, seed)
    return ddp, found


def passes(
    replica: Replica, module: torch.nn.Module, buffers: StepBuffers, batch: Batch, seed: int
) -> WarmUp:
    """Two forward and backward passes that leave no trace in the replica."""
    for _ in range(2):
        seed_everything("warm-up", seed)
        with buffers.discarded():
            loss, values = call_loss(replica.recipe, module, batch)
            loss.backward()
        unused = [n for n, p in replica.model.named_parameters() if p.requires_grad and p.grad is None]
        replica.model.zero_grad(set_to_none=True)
        if unused:
            break  # DDP expects every parameter and would refuse the second pass
    buffers.settle()
    return WarmUp(value_names=tuple(sorted(values)), unused_parameters=tuple(unused))
