"""Turns stored samples into a batch, with the recipe's code and random streams that belong to the samples."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import Any

import numpy as np

from workers.data.permutation import Int64
from workers.data.reader import Records, joined
from workers.numerics.randomness import derive
from workers.recipe import Batch, Recipe, Sample

EVALUATION = -1  # the epoch of held-out samples: their random streams are the same at every evaluation
ALIGNMENT_BYTES = 64
_THREADS = 4


class Decoder:
    """From the records of one micro-batch to the batch that the recipe's loss takes.

    What comes out depends on the samples, the seed and the epoch alone: not on threads, nor on where in
    memory the records happened to lie.

    Args:
        recipe: whose `decode_batch`, or else `decode` and `collate`, are called.
        seed: the job's.
    """

    def __init__(self, recipe: Recipe, seed: int) -> None:
        self._recipe = recipe
        self._seed = seed

    def __call__(self, epoch: int, records: Records, sample_ids: Int64) -> Batch:
        """Decode a micro-batch.

        Args:
            epoch: of the samples, or `EVALUATION`.
            records: the samples, one a row.
            sample_ids: their numbers in the data set.

        Raises:
            Whatever the recipe raises.
        """
        if self._recipe.decode_batch is not None:
            return aligned(self._recipe.decode_batch(joined(records)))
        samples: list[Any] = records.to_pylist()
        if self._decodes:
            samples = self._decode(epoch, samples, sample_ids.tolist())
        return aligned(self._recipe.collate(samples))

    def close(self) -> None:
        """Let the threads go; does not wait for them."""
        if "_pool" in self.__dict__:
            self._pool.shutdown(wait=False, cancel_futures=True)

    def _decode(self, epoch: int, samples: list[Sample], sample_ids: Sequence[int]) -> list[Any]:
        def decode(sample: Sample, sample_id: int) -> Any:
            key = derive("decode", self._seed, epoch, sample_id)
            return self._recipe.decode(sample, np.random.Generator(np.random.Philox(key=key)))

        return list(self._pool.map(decode, samples, sample_ids))

    @property
    def _decodes(self) -> bool:
        return getattr(self._recipe.decode, "__func__", None) is not Recipe.decode

    @cached_property
    def _pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(_THREADS, thread_name_prefix="decode")


def aligned(batch: Any) -> Any:
    """The same batch with every tensor in nested dicts, lists and tuples at a multiple of 64 bytes.

    Vectorised kernels treat the ragged beginning of unaligned memory differently, which can change the
    last bits of a sum: whether a tensor happened to be aligned must not decide about them.
    """
    import torch

    if isinstance(batch, torch.Tensor):
        return batch.clone() if batch.data_ptr() % ALIGNMENT_BYTES else batch
    if isinstance(batch, dict):
        return type(batch)({key: aligned(value) for key, value in batch.items()})
    if isinstance(batch, tuple) and hasattr(batch, "_fields"):  # a named tuple
        return type(batch)(*map(aligned, batch))
    if isinstance(batch, (list, tuple)):
        return type(batch)(map(aligned, batch))
    return batch
