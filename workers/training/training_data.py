"""Where an engine's batches come from: a data set in a store, or the recipe itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, nullcontext
from copy import copy
from typing import Protocol

import numpy as np

from workers.data.cache import node_cache
from workers.data.dataset import Dataset
from workers.data.decoder import EVALUATION, BatchDecoder
from workers.data.evaluation import evaluation_batches
from workers.data.feed import Feed as DatasetFeed
from workers.data.memory import keep_freed_memory
from workers.data.mixed import MixedReader, common_schema
from workers.data.mixture import Mixture
from workers.data.order import OrderSettings
from workers.data.packing import block_rows, sample_rows, sample_schema
from workers.data.prefetch import Reader
from workers.data.quarantine import Quarantine, RemainingSteps
from workers.data.reader import CACHE_BYTES, BlockReader
from workers.data.samples import Addresses, EpochSamples, MixedSamples, Samples, StoredSamples
from workers.data.schedule import Schedule, Steps
from workers.data.stream import cut_into_steps
from workers.errors import DamagedBlockError
from workers.numerics.randomness import derive
from workers.protocol import DataMixture, DataSource, LeftOut, Packing, TrainJob
from workers.recipe import Batch
from workers.training.step import Feed


class TrainingData(Protocol):
    """What the engine trains on."""

    schedule: Steps

    def first_batch(self) -> Batch:
        """A batch like those to come, for the warm-up; outside of any order."""

    def without(self, left_out: Sequence[LeftOut]) -> TrainingData:
        """The same data, but for these damaged blocks from their steps on."""

    def feed(self, vranks: Sequence[int], start_step: int) -> AbstractContextManager[Feed]:
        """Micro-batches of these virtual ranks from a step (counted from 0) to the job's end."""


class HeadStart:
    """A feed that is begun where training is expected to begin, so that nobody waits for its first batches.

    Args:
        data: what it feeds.
        vranks: the hosted virtual ranks.
        step: the expected step, counted from 0.
    """

    def __init__(self, data: TrainingData, vranks: Sequence[int], step: int) -> None:
        self._data, self._vranks, self._step = data, vranks, step
        self._stack = ExitStack()
        self._feed = self._stack.enter_context(data.feed(vranks, step))

    def at(self, step: int) -> Feed:
        """The feed from `step` on."""
        if step != self._step:
            self._stack.close()
            self._step, self._feed = step, self._stack.enter_context(self._data.feed(self._vranks, step))
        return self._feed

    def close(self) -> None:
        """Stop reading."""
        self._stack.close()


class StoredData:
    """Training data in a store, read ahead by threads.

    Args:
        job: what they are for.
        reader: fetches them.
        samples: where they are stored, in the order in which they are taken.
        decoder: decodes them.

    Raises:
        ValueError: the job names no training set.
    """

    def __init__(self, job: TrainJob, reader: Reader, samples: Samples, decoder: BatchDecoder) -> None:
        if job.train is None:
            raise ValueError("the job names no training set")
        self.schedule = cut_into_steps(job.train, job.virtual_ranks, job.micro_batch)
        self._job, self._reader, self._samples = job, reader, samples
        self._whole, self._quarantine = self.schedule, Quarantine()
        self._decoder = decoder

    def first_batch(self) -> Batch:
        """The first micro-batch in stored order; a later one where the first blocks are damaged."""
        tried = 0
        while True:
            found = self._samples.first(self._job.micro_batch, tried)
            try:
                [records] = self._reader.begin(found.runs).parts([len(found)])
            except DamagedBlockError as error:
                tried = error.block + 1
                if tried > self._job.damaged_blocks or not len(self._samples.first(1, tried)):
                    raise
            else:
                return self._decoder.begin(EVALUATION, records, found.draws).result()

    def addresses(self, step: int, vrank: int) -> Addresses:
        """Where the samples of a micro-batch are stored; of a step that is counted from 0."""
        piece = self._whole.at(step)
        found = self._samples.find(piece.epoch, vrank, piece.start, piece.start + piece.counts[vrank])
        return found.without(self._quarantine.at(step))

    def read(self, step: int, addresses: Addresses) -> Batch:
        """Some samples of a step as a batch of their own, each decoded as it is in that step."""
        [records] = self._reader.begin(addresses.runs).parts([len(addresses)])
        return self._decoder.begin(self._whole.at(step).epoch, records, addresses.draws).result()

    def without(self, left_out: Sequence[LeftOut]) -> StoredData:
        """See `TrainingData.without`."""
        remaining = copy(self)
        remaining._quarantine = quarantine = Quarantine(left_out)
        remaining.schedule = self._whole
        if quarantine:
            remaining.schedule = RemainingSteps(
                steps=self._whole, samples=self._samples, quarantine=quarantine
            )
        return remaining

    def feed(self, vranks: Sequence[int], start_step: int) -> AbstractContextManager[Feed]:
        """See `TrainingData.feed`."""
        return closing(
            DatasetFeed(
                self._reader,
                self._samples,
                self._whole,
                self._decoder,
                vranks,
                start_step=start_step,
                stop_step=self._job.steps,
                quarantine=self._quarantine,
            )
        )


class RecipeData:
    """For recipes that make their own data: a batch is the virtual rank's seed, its step and its size."""

    def __init__(self, job: TrainJob) -> None:
        self._job = job
        rows = job.batch_size * job.steps
        self.schedule: Steps = Schedule(rows=rows, vranks=job.virtual_ranks, micro_batch=job.micro_batch)

    def first_batch(self) -> Batch:
        """That of step 0 and virtual rank 0."""
        return self.take(0, 0)[0]

    def without(self, left_out: Sequence[LeftOut]) -> RecipeData:
        """Nothing of it is stored, so nothing can be damaged."""
        return self

    def feed(self, vranks: Sequence[int], start_step: int) -> AbstractContextManager[Feed]:
        """See `TrainingData.feed`."""
        return nullcontext(self)

    def take(self, step: int, vrank: int) -> tuple[Batch, int]:
        """See `workers.training.step.Feed.take`."""
        size = self._job.micro_batch
        return {"seed": derive("batch", self._job.seed, step, vrank), "step": step, "size": size}, size


class EvaluationData:
    """The held-out set, in stored order."""

    def __init__(self, job: TrainJob, reader: Reader, samples: StoredSamples, decoder: BatchDecoder) -> None:
        self._job, self._reader, self._samples, self._decoder = job, reader, samples, decoder

    def share(self, vrank: int) -> Iterator[Batch]:
        """A virtual rank's micro-batches: numbers vrank, vrank + V, ..."""
        job = self._job
        for batch, _ in evaluation_batches(
            self._reader,
            self._samples,
            self._decoder,
            micro_batch=job.micro_batch,
            vranks=job.virtual_ranks,
            vrank=vrank,
        ):
            yield batch


def open_training_data(job: TrainJob, decoder: BatchDecoder) -> TrainingData:
    """The job's training data, at the version that was pinned when the job was submitted.

    Raises:
        DataError, AccessError, UnreachableError: it cannot be opened, or is another version.
    """
    if job.train is None:
        return RecipeData(job)
    keep_freed_memory()
    if isinstance(job.train, DataMixture):
        return _open_mixture(job, job.train, decoder)
    dataset = _open(job.train)
    packing = job.train.packing
    order = OrderSettings(
        seed=job.seed, window_blocks=job.train.window_blocks, sample_rows=sample_rows(packing)
    )
    samples = EpochSamples(block_rows(dataset, packing), order, job.virtual_ranks)
    return StoredData(job, _reader(dataset, packing), samples, decoder)


def _open_mixture(job: TrainJob, train: DataMixture, decoder: BatchDecoder) -> StoredData:
    datasets = [_open(source) for source in train.sources]
    packing = train.sources[0].packing  # of them all
    schema = common_schema(
        [source.uri for source in train.sources],
        [sample_schema(dataset.manifest.schema, packing) for dataset in datasets],
    )
    mixture = Mixture(
        weights=train.weights,
        block_rows=[block_rows(dataset, packing) for dataset in datasets],
        window_blocks=[source.window_blocks for source in train.sources],
        vranks=job.virtual_ranks,
        seed=job.seed,
        sample_rows=sample_rows(packing),
    )
    before = np.cumsum([0, *(len(dataset.manifest) for dataset in datasets)])
    readers = [
        BlockReader(
            dataset,
            CACHE_BYTES // len(datasets),
            node_cache(dataset.store.uri),
            schema,
            first_block=int(first_block),
            packing=packing,
        )
        for dataset, first_block in zip(datasets, before, strict=False)
    ]
    return StoredData(job, MixedReader(readers), MixedSamples(mixture), decoder)


def _reader(dataset: Dataset, packing: Packing | None) -> BlockReader:
    return BlockReader(dataset, on_disk=node_cache(dataset.store.uri), packing=packing)


def _open(source: DataSource) -> Dataset:
    return Dataset.open(source.uri, digest=source.manifest_digest)


def open_evaluation_data(job: TrainJob, decoder: BatchDecoder) -> EvaluationData | None:
    """The job's held-out data, if it has some. Raises like `open_training_data`."""
    if job.evaluation is None:
        return None
    dataset, packing = _open(job.evaluation), job.evaluation.packing
    samples = StoredSamples(block_rows(dataset, packing), sample_rows(packing))
    return EvaluationData(job, _reader(dataset, packing), samples, decoder)
