"""The job file's sections: limits and defaults. They are frozen; unknown fields are refused.

`JobSpec.model_json_schema()` is the same as JSON Schema, for editors and documentation.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from orchestrator.spec.data import Data
from orchestrator.spec.fields import (
    Count,
    Pattern,
    RecipeName,
    Section,
    Slug,
    Steps,
    StepsOrTime,
    Time,
    Uri,
    broken,
)
from orchestrator.spec.initial import InitFrom
from orchestrator.spec.schedule import Schedule
from workers.protocol import Numerics

SEED_MAX = 2**63 - 1


class Batch(Section):
    """One step's samples and how they are divided. The result depends on these, never on the workers."""

    size: Count = Field(description="Samples in one step, over all virtual ranks.")
    virtual_ranks: Count = Field(
        default=8,
        description="V, the logical ranks that workers share out: the most workers the job can use.",
    )
    max_grad_norm: Annotated[float, Field(gt=0)] | None = Field(
        default=None, description="Clip the gradient to this L2 norm before the update."
    )

    @model_validator(mode="after")
    def _ranks_divide_size(self) -> Self:
        V = self.virtual_ranks
        if self.size % V:
            below, above = self.size // V * V, -(-self.size // V) * V
            sizes = f"{below} or {above}" if below else f"{above}"
            what = f"{V} virtual ranks do not divide a batch of {self.size} evenly"
            raise broken(what, fix=f"make batch.size {sizes}, or change virtual_ranks", field="virtual_ranks")
        return self


class Stop(Section):
    """When the job is done: exactly one of the two."""

    steps: Count | None = Field(default=None, description="Optimizer updates.")
    epochs: Count | None = Field(default=None, description="Passes over the training set.")

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if (self.steps is None) == (self.epochs is None):
            both = self.steps is not None
            what = "both steps and epochs are given" if both else "neither steps nor epochs is given"
            raise broken(what, fix="give exactly one; --set stop.epochs=null takes one away")
        return self


class Workers(Section):
    """The processes that train, and what each of them gets."""

    min: Count = Field(default=1, description="Workers without which the job does not start.")
    max: Count = Field(
        default_factory=lambda earlier: earlier["min"],
        description="Workers that the job can use; as many as min when left out.",
    )
    cpus: Annotated[float, Field(gt=0)] = Field(
        default=1.0, description="CPUs of one worker, fractions allowed. It uses max(1, whole CPUs) threads."
    )
    gpus: Annotated[float, Field(ge=0)] = Field(
        default=0.0, description="GPUs of one worker: 0, a share below 1, or a whole number."
    )
    train_on: Literal["gpu", "cpu"] | None = Field(
        default=None,
        description="Where a worker trains: on its GPUs if it has some, when left out. With cpu, its GPUs "
        "are there for the recipe's own use.",
    )
    standby: bool = Field(
        default=True,
        description="Keep a process ready on each node, which takes a lost worker's place at once. "
        "It needs memory, and no CPU or GPU of its own.",
    )

    @model_validator(mode="after")
    def _ordered_and_whole(self) -> Self:
        if self.min > self.max:
            what = f"min is {self.min}, but max is {self.max}"
            raise broken(what, fix="raise max or lower min", field="min")
        if self.gpus > 1 and self.gpus != int(self.gpus):
            what = f"{self.gpus} GPUs cannot be given to one worker"
            raise broken(what, fix="use a share below 1 or a whole number", field="gpus")
        if self.train_on == "gpu" and not self.gpus:
            raise broken("a worker without GPUs cannot train on them", fix="set gpus", field="train_on")
        return self

    @property
    def threads(self) -> int:
        """CPU threads of one worker. They are part of the numerics: other threads, other bits."""
        return max(1, int(self.cpus))

    @property
    def device(self) -> Literal["cpu", "cuda"]:
        """Where a worker trains."""
        return "cuda" if self.gpus > 0 and self.train_on != "cpu" else "cpu"


class KeepBest(Section):
    """Checkpoints that stay for their metric."""

    metric: str = Field(description="As the recipe's `evaluate` names it.")
    mode: Literal["min", "max"] = Field(description="Which values are better.")
    count: Count = Field(default=1, description="How many of the best.")


class Checkpoint(Section):
    """Where the job's state is saved, and how often."""

    uri: Uri | None = Field(default=None, description="Folder for checkpoints; each job has its own in it.")
    every: StepsOrTime | None = Field(
        default=None, description="Steps between checkpoints, or a time such as 5m."
    )
    if_busy: Literal["skip", "wait"] = Field(
        default="skip",
        description="When a checkpoint is due and the one before is still being written: leave it out and go "
        "on training, or wait.",
    )
    patience: Time = Field(
        default="30m",
        description="How long a checkpoint that cannot be written is tried again, while training goes on, "
        "before the job takes the store for broken.",
    )
    keep: Count = Field(default=3, description="Newest checkpoints that are kept.")
    keep_every: Steps | None = Field(
        default=None, description="Checkpoints whose step is a multiple of this are kept for ever."
    )
    keep_best: KeepBest | None = Field(
        default=None, description="Checkpoints with the best values of a metric are kept."
    )

    @model_validator(mode="after")
    def _every_needs_uri(self) -> Self:
        if self.every is not None and self.uri is None:
            fix = "add checkpoint.uri, such as file:///runs or s3://bucket/runs"
            raise broken("there is no checkpoint.uri to save to", fix=fix, field="every")
        return self


class Evaluate(Section):
    """How often the held-out set is evaluated."""

    every: Steps = Field(description="Steps between evaluations.")


class JobSpec(Section):
    """A whole job. Nothing in it depends on the machines that it will run on."""

    name: Slug = Field(description="Names the job, its checkpoints and its metrics.")
    recipe: RecipeName = Field(
        description="module:Class; looked up beside the job file first, then on Python's path."
    )
    params: dict[str, Any] = Field(default_factory=dict, description="Keyword arguments of the recipe.")
    seed: Annotated[int, Field(ge=0, le=SEED_MAX)] = Field(
        default=0, description="Of everything random in the job."
    )
    init_from: InitFrom | None = Field(
        default=None, description="Whose tensors the job begins with; the recipe's own when left out."
    )
    freeze: Annotated[tuple[Pattern, ...], Field(strict=False)] = Field(
        default_factory=tuple,
        description="Patterns of parameter names that are not trained, such as `encoder.*`; names as "
        "model.named_parameters() gives them.",
    )
    data: Data = Field(default=Data(), description="The training and held-out sets.")
    batch: Batch = Field(description="Samples in a step and virtual ranks.")
    stop: Stop = Field(description="When the job is done.")
    workers: Workers = Field(default=Workers(), description="How many workers, and their resources.")
    checkpoint: Checkpoint = Field(default=Checkpoint(), description="Where and how often to save.")
    evaluate: Evaluate | None = Field(default=None, description="How often to evaluate; never when left out.")
    numerics: Annotated[Numerics, Field(strict=False)] = Field(
        default=Numerics.ELASTIC,
        description="elastic: same bits on any number of workers. fast: no such promise. "
        "relaxed: elastic, and may resume in another environment.",
    )
    queue: Slug = Field(default="default", description="The queue that the job waits in.")
    priority: int = Field(default=0, description="Higher goes first within a queue.")
    schedule: Schedule = Field(
        default=Schedule(), description="Where a server may place it, and when it may stop it."
    )

    @model_validator(mode="after")
    def _sections_fit(self) -> Self:
        for _, error in misfits(dict(self)):
            raise error
        return self


def misfits(sections: Mapping[str, Any]) -> list[tuple[tuple[str, ...], PydanticCustomError]]:
    """Rules between sections, over those sections that are valid in themselves.

    Returns:
        the place and the error of each broken rule. A rule whose sections are not all there is not asked.
    """
    found: list[tuple[tuple[str, ...], PydanticCustomError]] = []
    batch, workers = sections.get("batch"), sections.get("workers")
    if batch and workers and workers.max > batch.virtual_ranks:
        what = f"{workers.max} workers cannot share {batch.virtual_ranks} virtual ranks"
        fix = f"use at most {batch.virtual_ranks} workers, or more batch.virtual_ranks"
        found.append((("workers", "max"), broken(what, fix=fix)))
    data = sections.get("data")
    if data and data.eval is None and sections.get("evaluate"):
        fix = "add data.eval.uri, or leave out evaluate"
        found.append((("evaluate",), broken("there is no held-out set to evaluate", fix=fix)))
    checkpoint = sections.get("checkpoint")
    if checkpoint and checkpoint.keep_best and "evaluate" in sections and sections["evaluate"] is None:
        fix = "add evaluate.every, or leave out keep_best"
        found.append((("checkpoint", "keep_best"), broken("nothing is evaluated", fix=fix)))
    stop = sections.get("stop")
    if data and data.train is None and stop and stop.epochs:
        fix = "add data.train.uri, or use stop.steps"
        found.append((("stop", "epochs"), broken("without a training set there are no epochs", fix=fix)))
    start, checkpoint, name = sections.get("init_from"), sections.get("checkpoint"), sections.get("name")
    if start and checkpoint and name and start.uri == f"{checkpoint.uri}/{name}":
        what = "these are the job's own checkpoints"
        fix = "go on from them with --resume, or give this job another name or checkpoint.uri"
        found.append((("init_from", "uri"), broken(what, fix=fix)))
    return found
