"""Where an engine's batches come from: a data set in a store, or the recipe itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, nullcontext
from typing import Protocol

from workers.data.cache import node_cache
from workers.data.dataset import Dataset
from workers.data.decoder import Decoder
from workers.data.evaluation import evaluation_batches
from workers.data.feed import Feed as DatasetFeed
from workers.data.memory import keep_freed_memory
from workers.data.order import OrderSettings
from workers.data.reader import BlockReader
from workers.data.schedule import Schedule
from workers.numerics.randomness import derive
from workers.protocol import TrainJob
from workers.recipe import Batch, Recipe
from workers.training.step import Feed


class TrainingData(Protocol):
    """What the engine trains on."""

    schedule: Schedule

    def first_batch(self) -> Batch:
        """A batch like those to come, for the warm-up; outside of any order."""

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
    """A data set in a store, read ahead by threads."""

    def __init__(self, job: TrainJob, dataset: Dataset, recipe: Recipe) -> None:
        if job.train is None:
            raise ValueError("the job names no training set")
        keep_freed_memory()
        self._job = job
        self._reader = BlockReader(dataset, on_disk=node_cache(dataset.store.uri))
        self._decoder = Decoder(recipe, job.seed)
        self._order = OrderSettings(seed=job.seed, window_blocks=job.train.window_blocks)
        self.schedule = Schedule(rows=dataset.rows, vranks=job.virtual_ranks, micro_batch=job.micro_batch)

    def first_batch(self) -> Batch:
        """The first micro-batch in stored order."""
        return next(
            evaluation_batches(
                self._reader, self._decoder, micro_batch=self._job.micro_batch, vranks=1, vrank=0
            )
        )[0]

    def feed(self, vranks: Sequence[int], start_step: int) -> AbstractContextManager[Feed]:
        """See `TrainingData.feed`."""
        return closing(
            DatasetFeed(
                self._reader,
                self._order,
                self.schedule,
                self._decoder,
                vranks,
                start_step=start_step,
                stop_step=self._job.steps,
            )
        )


class RecipeData:
    """For recipes that make their own data: a batch is the virtual rank's seed, its step and its size."""

    def __init__(self, job: TrainJob) -> None:
        self._job = job
        rows = job.batch_size * job.steps
        self.schedule = Schedule(rows=rows, vranks=job.virtual_ranks, micro_batch=job.micro_batch)

    def first_batch(self) -> Batch:
        """That of step 0 and virtual rank 0."""
        return self.take(0, 0)[0]

    def feed(self, vranks: Sequence[int], start_step: int) -> AbstractContextManager[Feed]:
        """See `TrainingData.feed`."""
        return nullcontext(self)

    def take(self, step: int, vrank: int) -> tuple[Batch, int]:
        """See `workers.training.step.Feed.take`."""
        size = self._job.micro_batch
        return {"seed": derive("batch", self._job.seed, step, vrank), "step": step, "size": size}, size


class EvaluationData:
    """The held-out set, in stored order."""

    def __init__(self, job: TrainJob, dataset: Dataset, recipe: Recipe) -> None:
        self._job = job
        self._reader = BlockReader(dataset, on_disk=node_cache(dataset.store.uri))
        self._decoder = Decoder(recipe, job.seed)

    def share(self, vrank: int) -> Iterator[Batch]:
        """A virtual rank's micro-batches: numbers vrank, vrank + V, ..."""
        job = self._job
        for batch, _ in evaluation_batches(
            self._reader, self._decoder, micro_batch=job.micro_batch, vranks=job.virtual_ranks, vrank=vrank
        ):
            yield batch


def open_training_data(job: TrainJob, recipe: Recipe) -> TrainingData:
    """The job's training data, at the version that was pinned when the job was submitted.

    Raises:
        DataError, AccessError, UnreachableError: it cannot be opened, or is another version.
    """
    if job.train is None:
        return RecipeData(job)
    return StoredData(job, Dataset.open(job.train.uri, digest=job.train.manifest_digest), recipe)


def open_evaluation_data(job: TrainJob, recipe: Recipe) -> EvaluationData | None:
    """The job's held-out data, if it has some. Raises like `open_training_data`."""
    if job.evaluation is None:
        return None
    dataset = Dataset.open(job.evaluation.uri, digest=job.evaluation.manifest_digest)
    return EvaluationData(job, dataset, recipe)
