"""What a job is, for every worker the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal

from workers.checkpoint.policy import Retention

Json = Any


class Numerics(StrEnum):
    """What a job promises about bits."""

    ELASTIC = "elastic"  # the fixed tree: the same bits for every number of workers
    FAST = "fast"  # stock DDP all-reduce: no promise across numbers of workers
    RELAXED = "relaxed"  # the fixed tree, but resuming in another environment is allowed


@dataclass(frozen=True, kw_only=True)
class Packing:
    """A sample is so many consecutive values of the lists in a column, whichever lists those are in."""

    column: str
    length: int  # at least 2


@dataclass(frozen=True, kw_only=True)
class DataSource:
    """A data set pinned to one version of its manifest, and the order it is read in."""

    uri: str
    manifest_digest: str
    rows: int  # samples
    window_blocks: int | None = None  # None: shuffled globally; else within a window of so many blocks
    packing: Packing | None = None  # None: a sample is what is stored as one


#: An epoch of a mixture is over when the first of its sources was used up once more, or the last of them.
EpochEnd = Literal["first", "last"]


@dataclass(frozen=True, kw_only=True)
class DataMixture:
    """Several data sets that are drawn from by weight, as one endless stream."""

    sources: tuple[DataSource, ...]
    weights: tuple[int, ...]  # one a source, see `workers.data.pattern.whole_weights`
    epoch_end: EpochEnd


@dataclass(frozen=True, kw_only=True)
class InitFrom:
    """Whose tensors a job begins with: another job's checkpoint, or a safetensors file, pinned to its bytes.

    Patterns are those of `fnmatch`, over the keys of the job that begins.
    """

    uri: str  # the checkpoint folder, or the file
    step: int | None  # None: a file
    digest: str  # SHA-256 of the checkpoint's manifest, or of the file
    tensors: tuple[str, ...] | None = None  # None: all model/ tensors, and both must have the same
    rename: Mapping[str, str] = field(default_factory=dict)  # how keys begin there → how they begin here

    @property
    def whole(self) -> bool:
        """Whether the whole state is taken, the optimizer's and the schedule's too."""
        return self.tensors is not None and "*" in self.tensors


@dataclass(frozen=True, kw_only=True)
class TrainJob:
    """All that every worker of a job is told, the same for each, however many there are."""

    name: str
    recipe: str  # "module:Class"
    params: Mapping[str, Json]
    sources: Mapping[str, bytes]  # Python files beside the job file, by relative path
    source_folder: str | None  # where they lie on the submitter's machine
    seed: int
    virtual_ranks: int
    batch_size: int  # samples in one step, over all virtual ranks
    steps: int  # the step at which the job is done
    train: DataSource | DataMixture | None  # None: the recipe makes its own data
    evaluation: DataSource | None = None
    evaluate_every: int | None = None  # steps
    damaged_blocks: int = 0  # of the training set, that may be left out
    max_grad_norm: float | None = None
    init_from: InitFrom | None = None  # None: the recipe's own initial state
    freeze: tuple[str, ...] = ()  # patterns of parameter names that are not trained
    checkpoint_uri: str | None = None  # this job's own folder: manifests/ and chunks/ live in it
    checkpoint_every: int | None = None  # steps
    checkpoint_seconds: float | None = None  # since the last one began
    checkpoint_keep: Retention = field(default_factory=Retention)
    checkpoint_waits: bool = False  # for the one before, if that is still on its way; else it is skipped
    checkpoint_patience: float = 1800.0  # seconds for which a save that cannot be written is tried again
    numerics: Numerics = Numerics.ELASTIC
    threads: int = 1  # CPU threads of one worker; part of the numerics
    device: str = "cpu"  # "cpu" or "cuda"
    decode_processes: int = 0  # of each worker; 0: its threads decode. No part of the numerics
    gpu_shared: bool = False  # workers may share a GPU

    @property
    def micro_batch(self) -> int:
        """Samples that one virtual rank sees in a full step."""
        return self.batch_size // self.virtual_ranks
