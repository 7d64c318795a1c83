"""The section `data` of a job file: what is trained and evaluated on, and in which order it is read."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from orchestrator.spec.fields import Count, Digest, Section, Uri, broken

SOURCES_MAX = 100  # of a mixture
DECODE_PROCESSES_MAX = 256

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
    seq_len: Annotated[int, Field(ge=2)] | None = Field(
        default=None,
        description="Pack: a sample is so many consecutive tokens, whichever documents they are from. "
        "For training and evaluation alike.",
    )
    tokens: Annotated[str, Field(min_length=1)] | None = Field(
        default=None,
        description="With seq_len: the column of lists of integers that is packed; may be left out if there "
        "is but one.",
    )
    decode: Decode = Field(default=Decode(), description="Where samples are decoded.")

    @model_validator(mode="after")
    def _tokens_are_packed(self) -> Self:
        if self.tokens is not None and self.seq_len is None:
            what = "a column of tokens has no meaning without seq_len"
            raise broken(what, fix="add seq_len, or leave tokens out", field="tokens")
        return self
