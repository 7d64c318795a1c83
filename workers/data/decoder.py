"""Turns stored samples into a batch, with the recipe's code and random streams that belong to the samples."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np

from workers.data.permutation import Int64
from workers.data.records import Records, as_samples, joined
from workers.numerics.randomness import derive
from workers.recipe import Batch, Recipe, Sample

EVALUATION = -1  # the epoch of held-out samples: their random streams are the same at every evaluation
ALIGNMENT_BYTES = 64
_THREADS = 4


class Decoding(Protocol):
    """A micro-batch that is being decoded, or is already."""

    def result(self) -> Batch:
        """Wait for the batch. Raises what decoding it raised."""

    def cancel(self) -> object:
        """Nobody is going to ask for the result: if it has not begun, it need not."""


class BatchDecoder(Protocol):
    """What turns records into batches.

    Attributes:
        ahead: micro-batches that are worth beginning before the first of them is asked for.
    """

    ahead: int

    def begin(self, epoch: int, records: Records, sample_ids: Int64) -> Decoding:
        """Begin to decode a micro-batch; see `Decoder.__call__`."""

    def close(self) -> None:
        """Stop whatever decodes."""


@dataclass(frozen=True)
class Decoded:
    """A micro-batch for which there is nothing left to wait."""

    batch: Batch

    def result(self) -> Batch:
        """It."""
        return self.batch

    def cancel(self) -> None:
        """Too late."""


class Decoder:
    """From the records of one micro-batch to the batch that the recipe's loss takes.

    What comes out depends on the samples, the seed and the epoch alone: not on threads, nor on where in
    memory the records happened to lie.

    Args:
        recipe: whose `decode_batch`, or else `decode` and `collate`, are called.
        seed: the job's.
        threads: how many decode the samples of one micro-batch.
    """

    ahead = 0

    def __init__(self, recipe: Recipe, seed: int, threads: int = _THREADS) -> None:
        self._recipe = recipe
        self._seed = seed
        self._threads = threads

    def begin(self, epoch: int, records: Records, sample_ids: Int64) -> Decoding:
        """Decode a micro-batch, here and now."""
        return Decoded(self(epoch, records, sample_ids))

    def __call__(self, epoch: int, records: Records, sample_ids: Int64) -> Batch:
        """Decode a micro-batch.

        Args:
            epoch: of the samples, or `EVALUATION`.
            records: the samples, one a row.
            sample_ids: their numbers in the data set; of a mixture, of all draws in `epoch`.

        Raises:
            Whatever the recipe raises.
        """
        if self._recipe.decode_batch is not None:
            return aligned(self._recipe.decode_batch(joined(records)))
        samples: list[Any] = as_samples(records)
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
            try:
                return self._recipe.decode(sample, np.random.Generator(np.random.Philox(key=key)))
            except Exception as error:
                error.add_note(f"while decoding sample {sample_id} of the data set{_named(sample)}")
                raise

        run = map if self._threads == 1 else self._pool.map
        return list(run(decode, samples, sample_ids))

    @property
    def _decodes(self) -> bool:
        return getattr(self._recipe.decode, "__func__", None) is not Recipe.decode

    @cached_property
    def _pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(self._threads, thread_name_prefix="decode")


def _named(sample: Sample) -> str:
    """What the sample calls itself, if it does."""
    name = sample.get("key", sample.get("__key__"))
    return f" ({name})" if isinstance(name, str) else ""


def size_bytes(batch: Any) -> int | None:
    """Memory of the tensors and arrays in nested dicts, lists and tuples; None if there is anything else."""
    size = getattr(batch, "nbytes", None)
    if isinstance(size, int):
        return size
    if not isinstance(batch, (dict, list, tuple)):
        return 0 if isinstance(batch, (int, float, str)) else None
    sizes = [size_bytes(value) for value in (batch.values() if isinstance(batch, dict) else batch)]
    return None if None in sizes else sum(size for size in sizes if size is not None)


def aligned(batch: Any) -> Any:
    """The same batch with every tensor in nested dicts, lists and tuples at a multiple of 64 bytes.

    Vectorised kernels treat the ragged beginning of unaligned memory differently, which can change the
    last bits of a sum: whether a tensor happened to be aligned must not decide about them.
    """
    torch = sys.modules.get("torch")
    if torch is None:
        return batch  # in a decode process of a recipe that can do without
    if isinstance(batch, torch.Tensor):
        return batch.clone() if batch.data_ptr() % ALIGNMENT_BYTES else batch
    if isinstance(batch, dict):
        return type(batch)({key: aligned(value) for key, value in batch.items()})
    if isinstance(batch, tuple) and hasattr(batch, "_fields"):  # a named tuple
        return type(batch)(*map(aligned, batch))
    if isinstance(batch, (list, tuple)):
        return type(batch)(map(aligned, batch))
    return batch
