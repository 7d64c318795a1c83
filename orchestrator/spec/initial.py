"""The section `init_from` of a job file: whose tensors a job begins with."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from orchestrator.spec.fields import Pattern, Section, Uri, broken

FILE_SUFFIX = ".safetensors"
_KINDS = ("model/", "extra/")


class InitFrom(Section):
    """Whose tensors the job begins with. `init_from: URI` is short for `init_from: {uri: URI}`."""

    uri: Uri = Field(
        description="Begin with the tensors of another job's checkpoint folder, or of a .safetensors file. "
        "`init_from: URI` is short for this alone."
    )
    step: Annotated[int, Field(ge=0)] | None = Field(
        default=None, description="Of which step; the newest intact checkpoint when left out."
    )
    tensors: Annotated[tuple[Pattern, ...], Field(strict=False)] | None = Field(
        default=None,
        description="Patterns of this job's keys, such as `model/encoder.*`; when left out, all of model/, "
        "and both have to have the same. `*`: the whole state, the optimizer's and the schedule's too.",
    )
    rename: dict[str, str] = Field(
        default_factory=dict,
        description='How keys begin there → how they begin here: {"model/backbone.": "model/encoder."}.',
    )

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        return {"uri": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.step is not None and self.uri.endswith(FILE_SUFFIX):
            raise broken("a file has no steps", fix="leave it out, or name a checkpoint folder", field="step")
        if self.tensors is not None and not self.tensors:
            fix = "name some, or leave it out to begin with all of model/"
            raise broken("no pattern, no tensor", fix=fix, field="tensors")
        if self.tensors and "*" in self.tensors:
            if self.uri.endswith(FILE_SUFFIX):
                fix = 'write "model/*", or name a checkpoint folder'
                raise broken("a file does not hold the whole state", fix=fix, field="tensors")
            if self.rename:
                what = "the whole state is taken under its own names"
                raise broken(what, fix="leave it out, or choose tensors by other patterns", field="rename")
        for side in (*self.rename, *self.rename.values()):
            if not side.startswith(_KINDS):
                fix = "begin both sides with model/ or extra/, as keys do"
                raise broken(f"no key begins with {side!r}", fix=fix, field="rename")
        return self
