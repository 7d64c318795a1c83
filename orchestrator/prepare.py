"""From a checked job file to what workers are told: data pinned, order resolved, checkpoints looked at.

Everything that can be found wrong before a worker exists is found here, without torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from orchestrator.checkpointing import newest_intact
from orchestrator.initial import describe, pin
from orchestrator.sources import collect_sources
from orchestrator.spec import JobSpec
from orchestrator.spec.data import Data, Source, Train
from orchestrator.spec.fields import seconds
from workers.checkpoint.compatibility import JobFacts, check_resume
from workers.checkpoint.load import history
from workers.checkpoint.manifest import Manifest
from workers.checkpoint.policy import Best, Retention
from workers.data.dataset import Dataset
from workers.data.manifest import Manifest as DataManifest
from workers.data.mixed import common_schema
from workers.data.order import WINDOW_BLOCKS, resolve_shuffle
from workers.data.packing import choose_column, count_samples, sample_schema
from workers.data.pattern import whole_weights
from workers.data.stream import cut_into_steps
from workers.errors import CheckpointError
from workers.protocol import DataMixture, DataSource, Packing, TrainJob
from workers.storage import Store


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Where a run starts from.

    Attributes:
        manifest: the checkpoint to go on from, or None to start from nothing.
        notes: what was found wrong with newer ones.
        erase: remove the checkpoints of earlier runs, once it is certain that this one can begin.
    """

    manifest: Manifest | None
    notes: tuple[str, ...] = ()
    erase: bool = False


def resolve(spec: JobSpec, job_file: Path, *, fresh: bool = False) -> TrainJob:
    """All that is fixed for the job's life, whoever trains it.

    Args:
        fresh: see `find_origin`; what earlier runs began with does not count either.

    Raises:
        InputError, UnreachableError: a data set, or what the job begins with, is missing, empty or out of
            reach; see each.
    """
    folder = f"{spec.checkpoint.uri}/{spec.name}" if spec.checkpoint.uri is not None else None
    start = pin(spec.init_from, None if fresh else folder) if spec.init_from is not None else None
    train = _pin_train(spec.data, spec.data.train) if spec.data.train is not None else None
    held_out = _pin(spec.data, spec.data.eval)[0] if spec.data.eval is not None else None
    every = spec.checkpoint.every
    return TrainJob(
        name=spec.name,
        recipe=spec.recipe,
        params=spec.params,
        sources=collect_sources(job_file, spec.recipe),
        source_folder=str(job_file.absolute().parent),
        seed=spec.seed,
        virtual_ranks=spec.batch.virtual_ranks,
        batch_size=spec.batch.size,
        steps=_steps(spec, train),
        train=train,
        evaluation=held_out,
        evaluate_every=spec.evaluate.every if spec.evaluate is not None else None,
        damaged_blocks=spec.data.train.damaged_blocks if spec.data.train is not None else 0,
        max_grad_norm=spec.batch.max_grad_norm,
        init_from=start,
        freeze=spec.freeze,
        checkpoint_uri=folder,
        checkpoint_every=every if isinstance(every, int) else None,
        checkpoint_seconds=seconds(every) if isinstance(every, str) else None,
        checkpoint_keep=retention(spec),
        checkpoint_waits=spec.checkpoint.if_busy == "wait",
        checkpoint_patience=seconds(spec.checkpoint.patience),
        numerics=spec.numerics,
        threads=spec.workers.threads,
        device=spec.workers.device,
        decode_processes=spec.data.decode.processes,
        gpu_shared=0 < spec.workers.gpus < 1,
    )


def retention(spec: JobSpec) -> Retention:
    """Which of the job's checkpoints stay."""
    best = spec.checkpoint.keep_best
    return Retention(
        last=spec.checkpoint.keep,
        every=spec.checkpoint.keep_every,
        best=Best(metric=best.metric, mode=best.mode, count=best.count) if best is not None else None,
    )


def find_origin(job: TrainJob, *, resume: bool, fresh: bool) -> Origin:
    """Where this run starts from.

    Args:
        resume: go on from the newest checkpoint whose every byte verifies; from nothing if there is none.
        fresh: the checkpoints of earlier runs do not count, and are to be removed.

    Raises:
        CheckpointError: there are checkpoints, and the caller said neither; or they are all damaged; or they
            are beyond the job's last step, or another job's.
    """
    if job.checkpoint_uri is None:
        if resume:
            fix = "add checkpoint.uri to the job file, or leave out --resume"
            raise CheckpointError("the job saves no checkpoints to resume from", where="checkpoint", fix=fix)
        return _beginning(job)
    store = Store(job.checkpoint_uri)
    if fresh:
        return _beginning(job, erase=True)
    steps = history(store)
    if not steps:
        return _beginning(job, *(["no checkpoint yet: starting from the beginning"] if resume else []))
    if not resume:
        fix = "go on with --resume, choose another name or checkpoint.uri, or start over with --fresh"
        raise CheckpointError(f"an earlier run is here, at step {steps[-1]}", where=store.uri, fix=fix)
    return _newest_intact(store, job)


def _beginning(job: TrainJob, *notes: str, erase: bool = False) -> Origin:
    start = [describe(job.init_from)] if job.init_from is not None else []
    return Origin(manifest=None, notes=(*notes, *start), erase=erase)


def _newest_intact(store: Store, job: TrainJob) -> Origin:
    manifest, notes = newest_intact(store)
    if manifest.step > job.steps:
        what = f"the newest checkpoint is of step {manifest.step}, and the job stops at {job.steps}"
        raise CheckpointError(what, where=store.uri, fix="raise stop, or choose another name")
    # The environment is the workers' business: what this machine is like does not matter.
    check_resume(manifest, JobFacts.of(job, manifest.fingerprint))
    if len(manifest.left_out) > job.damaged_blocks:
        count = len(manifest.left_out)
        what = f"step {manifest.step} was trained without {count} damaged blocks, more than the job allows"
        fix = f"set data.train.damaged_blocks to {count} or more, or start over with --fresh"
        raise CheckpointError(what, where=store.uri, fix=fix)
    return Origin(manifest=manifest, notes=tuple(notes))


def _pin_train(data: Data, train: Train) -> DataSource | DataMixture:
    if train.mix is None:
        return _pin(data, train.source)[0]
    pinned = [_pin(data, source) for source in train.mix]
    schemas = [sample_schema(manifest.schema, source.packing) for source, manifest in pinned]
    common_schema([source.uri for source, _ in pinned], schemas)
    return DataMixture(
        sources=tuple(source for source, _ in pinned),
        weights=whole_weights([source.weight for source in train.mix]),
        epoch_end=train.epoch or "last",
    )


def _pin(data: Data, source: Source) -> tuple[DataSource, DataManifest]:
    """The data set at its newest version, or the one that is named, and the order it will be read in."""
    dataset = Dataset.open(source.uri, digest=source.version)
    manifest = dataset.manifest
    window = resolve_shuffle(
        manifest.bytes, source.shuffle, source.window or WINDOW_BLOCKS, single_rows=manifest.single_rows
    )
    packing = None
    if data.seq_len is not None:
        column = choose_column(dataset, source.uri, data.tokens)
        packing = Packing(column=column, length=data.seq_len)
    rows = count_samples(dataset, packing, source.uri)
    pinned = DataSource(
        uri=source.uri,
        manifest_digest=manifest.digest,
        rows=rows,
        window_blocks=window,
        packing=packing,
    )
    return pinned, manifest


def _steps(spec: JobSpec, train: DataSource | DataMixture | None) -> int:
    if spec.stop.steps is not None:
        return spec.stop.steps
    if spec.stop.epochs is None or train is None:
        raise ValueError("the job file was not checked")
    vranks, micro_batch = spec.batch.virtual_ranks, spec.batch.size // spec.batch.virtual_ranks
    return cut_into_steps(train, vranks, micro_batch).steps_of(spec.stop.epochs)
