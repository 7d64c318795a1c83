"""The job file's fields: types, limits and defaults. Sections are frozen; unknown fields are refused.

`JobSpec.model_json_schema()` is the same as JSON Schema, for editors and documentation.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    model_validator,
)
from pydantic_core import PydanticCustomError

from workers.protocol import Numerics

SLUG_CHARS_MAX = 63  # what file names, actor names and Kubernetes labels all allow
SEED_MAX = 2**63 - 1
SOURCES_MAX = 100  # of a mixture
DECODE_PROCESSES_MAX = 256
_SLUG = re.compile(r"[a-z0-9]([a-z0-9_-]*[a-z0-9])?")
_RECIPE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")
_DIGEST = re.compile(r"[0-9a-f]{6,64}")
_TIME = re.compile(r"[0-9.]+ ?(s|sec|m|min|h|d)")


def broken(what: str, *, fix: str, field: str = "") -> PydanticCustomError:
    """An error for pydantic to collect; `field` is where inside the section it belongs."""
    template = what.replace("{", "{{").replace("}", "}}")
    return PydanticCustomError("rule", template, {"fix": fix, "field": field})


def _slug(text: str) -> str:
    if _SLUG.fullmatch(text) and len(text) <= SLUG_CHARS_MAX:
        return text
    near = re.sub(r"[^a-z0-9]+", "-", text.lower())[:SLUG_CHARS_MAX].strip("-") or "my-job"
    what = f"{text!r} cannot name files and actors everywhere"
    raise broken(what, fix=f"use lower-case letters, digits and dashes, at most {SLUG_CHARS_MAX}: {near}")


def _recipe(text: str) -> str:
    if _RECIPE.fullmatch(text):
        return text
    fix = "write module:Class, as in recipe:CharModel for the class CharModel of recipe.py"
    raise broken(f"{text!r} does not name a class in a module", fix=fix)


def _uri(text: str, info: ValidationInfo) -> str:
    """Absolute URIs stay; paths become `file://` URIs, relative ones from the job file's folder."""
    parts = urlsplit(text)
    if parts.scheme == "s3" and parts.netloc:
        return text.rstrip("/")
    if parts.scheme == "file" and not parts.netloc and parts.path.startswith("/") and len(parts.path) > 1:
        return text.rstrip("/")
    fix = "write s3://bucket/prefix, file:///absolute/folder, or a path"
    if not text or "://" in text:
        raise broken(f"{text!r} is not an address of a folder", fix=fix)
    path = Path(text).expanduser()
    base: Path | None = (info.context or {}).get("base")
    if not path.is_absolute():
        if base is None:
            raise broken(f"{text!r} is relative to nothing", fix=fix)
        path = base / path
    return path.resolve().as_uri()


def _steps(value: Any) -> Any:
    if isinstance(value, str) and _TIME.fullmatch(value):
        what = f"{value!r} is a time; only steps are supported"
        raise broken(what, fix="give a number of steps, such as 50")
    return value


def _digest(text: str) -> str:
    if _DIGEST.fullmatch(text):
        return text
    fix = "write at least 6 of its digits, in quotes, as `lockstep data show` prints them"
    raise broken(f"{text!r} is not how a digest begins", fix=fix)


Digest = Annotated[str, AfterValidator(_digest)]
Slug = Annotated[str, AfterValidator(_slug)]
Uri = Annotated[str, AfterValidator(_uri)]
Count = Annotated[int, Field(ge=1)]
Steps = Annotated[Count, BeforeValidator(_steps)]


class Section(BaseModel):
    """Base of all sections: frozen, nothing unknown, no guessing of types (`"8"` is not a number)."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


ShuffleChoice = Literal["auto", "global", "windowed"]
_SHUFFLE = "Shuffle all samples, or within windows of blocks; auto decides by the set's size."
_WINDOW = "Blocks in a window; only with shuffle: windowed."
_VERSION = "Digest of the version that is read, or how it begins; the newest one when left out."


def _window_needs_windowed(shuffle: ShuffleChoice, window: int | None) -> None:
    if window is not None and shuffle != "windowed":
        what = f"a window has no meaning with shuffle: {shuffle}"
        raise broken(what, fix="add shuffle: windowed", field="window")


class Source(Section):
    """A data set and the order it is read in."""

    uri: Uri = Field(description="Where its manifest lies: a path, file:///folder or s3://bucket/prefix.")
    shuffle: ShuffleChoice = Field(default="auto", description=_SHUFFLE)
    window: Count | None = Field(default=None, description=_WINDOW)
    version: Digest | None = Field(default=None, description=_VERSION)

    @model_validator(mode="after")
    def _shuffle_fits(self) -> Self:
        _window_needs_windowed(self.shuffle, self.window)
        return self


class Weighted(Source):
    """One data set of a mixture."""

    weight: Annotated[float, Field(gt=0)] = Field(
        default=1.0,
        description="Its share of the samples, beside the other weights; to 1/10,000 of the whole.",
    )


class Train(Section):
    """What is trained on: one data set, or a mixture of several."""

    uri: Uri | None = Field(
        default=None,
        description="Where its manifest lies: a path, file:///folder or s3://bucket/prefix. This, or `mix`.",
    )
    shuffle: ShuffleChoice = Field(default="auto", description=_SHUFFLE)
    window: Count | None = Field(default=None, description=_WINDOW)
    version: Digest | None = Field(default=None, description=_VERSION)
    mix: Annotated[tuple[Weighted, ...], Field(strict=False)] | None = Field(
        default=None, description="Several data sets with the same columns, drawn from by weight."
    )
    damaged_blocks: Annotated[int, Field(ge=0)] = Field(
        default=0,
        description="Blocks that cannot be read, in the store either, and are left out before the job stops.",
    )
    epoch: Literal["first", "last"] | None = Field(
        default=None,
        description="An epoch of a mixture ends when the first of its sources was used up once more, or the "
        "last of them; last when left out.",
    )

    @model_validator(mode="after")
    def _one_or_several(self) -> Self:
        if self.mix is None:
            if self.uri is None:
                raise broken("missing", fix="add it, or mix: with several data sets", field="uri")
            if self.epoch is not None:
                what = "only the epochs of a mixture have a choice of ends"
                raise broken(what, fix="leave it out", field="epoch")
            _window_needs_windowed(self.shuffle, self.window)
            return self
        if not 0 < len(self.mix) <= SOURCES_MAX:
            fix = f"name 1 to {SOURCES_MAX} data sets"
            raise broken(f"{len(self.mix)} data sets are no mixture", fix=fix, field="mix")
        for name in ("uri", "shuffle", "window", "version"):
            if getattr(self, name) != type(self).model_fields[name].default:
                what = f"with a mix, every source has its own {name}"
                raise broken(what, fix="write it in the items of mix", field=name)
        uris = [source.uri for source in self.mix]
        for number, uri in enumerate(uris):
            if uri in uris[:number]:
                fix = "name it once, with the sum of the weights"
                raise broken(f"{uri} is there twice", fix=fix, field="mix")
        return self

    @property
    def source(self) -> Source:
        """The one data set, if this is no mixture."""
        if self.uri is None:
            raise ValueError("a mixture has several sources")
        return Source(uri=self.uri, shuffle=self.shuffle, window=self.window, version=self.version)


class Decode(Section):
    """Where the recipe's decode and collate run. The result does not depend on it."""

    processes: Annotated[int, Field(ge=0, le=DECODE_PROCESSES_MAX)] = Field(
        default=0,
        description="Processes of each worker, for Python code that keeps a CPU busy. "
        "0: threads, which is best for libraries that release the interpreter's lock.",
    )


class Data(Section):
    """What is trained and evaluated on. Recipes that make their own data leave out `train`."""

    train: Train | None = Field(default=None, description="The training set, or several.")
    eval: Source | None = Field(default=None, description="The held-out set.")
    decode: Decode = Field(default=Decode(), description="Where samples are decoded.")


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
        return self

    @property
    def threads(self) -> int:
        """CPU threads of one worker. They are part of the numerics: other threads, other bits."""
        return max(1, int(self.cpus))

    @property
    def device(self) -> Literal["cpu", "cuda"]:
        """Where a worker trains."""
        return "cuda" if self.gpus > 0 else "cpu"


class Checkpoint(Section):
    """Where the job's state is saved, and how often."""

    uri: Uri | None = Field(default=None, description="Folder for checkpoints; each job has its own in it.")
    every: Steps | None = Field(default=None, description="Steps between checkpoints.")
    keep: Count = Field(default=3, description="Newest checkpoints that are kept.")

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
    recipe: Annotated[str, AfterValidator(_recipe)] = Field(
        description="module:Class; looked up beside the job file first, then on Python's path."
    )
    params: dict[str, Any] = Field(default_factory=dict, description="Keyword arguments of the recipe.")
    seed: Annotated[int, Field(ge=0, le=SEED_MAX)] = Field(
        default=0, description="Of everything random in the job."
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
    stop = sections.get("stop")
    if data and data.train is None and stop and stop.epochs:
        fix = "add data.train.uri, or use stop.steps"
        found.append((("stop", "epochs"), broken("without a training set there are no epochs", fix=fix)))
    return found
