"""A script job's file: any program that `torchrun` could start, and what it needs."""

from __future__ import annotations

import re
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from orchestrator.spec.fields import Count, Section, Slug, Time, broken, seconds
from orchestrator.spec.schedule import Schedule
from workers.script.protocol import RESERVED

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
GRACE_SECONDS_MAX = 3600.0


def _command(parts: tuple[str, ...]) -> tuple[str, ...]:
    fix = "write a list of the program and its arguments: command: [python, train.py]"
    if not parts or not parts[0]:
        raise broken("nothing to run", fix=fix)
    if any("\0" in part for part in parts):
        raise broken("an argument has a zero byte in it", fix=fix)
    return parts


def _env(values: dict[str, str]) -> dict[str, str]:
    for name, value in values.items():
        if not _NAME.fullmatch(name) or "\0" in value:
            raise broken(f"{name!r} cannot be an environment variable", fix="use letters, digits and _")
        if name in RESERVED:
            what = f"{name} is told to each process by Lockstep, as by torchrun"
            raise broken(what, fix=f"leave {name} out", field=name)
    return values


def _grace(text: str) -> str:
    if seconds(text) > GRACE_SECONDS_MAX:
        raise broken(f"{text} is too long", fix="use at most 1h, and save more often while training")
    return text


Command = Annotated[tuple[str, ...], Field(strict=False), AfterValidator(_command)]


class ScriptWorkers(Section):
    """The processes of a script job; each is one rank."""

    min: Count = Field(default=1, description="Processes without which the job does not start.")
    max: Count = Field(
        default_factory=lambda earlier: earlier["min"],
        description="Processes that the program can use; as many as min when left out. With more than min, "
        "the program must be able to go on from its own checkpoint with another WORLD_SIZE.",
    )
    cpus: Annotated[float, Field(gt=0)] = Field(
        default=1.0,
        description="CPUs of one process. OMP_NUM_THREADS is max(1, whole CPUs), unless env says.",
    )
    gpus: Annotated[int, Field(ge=0)] = Field(default=0, description="GPUs of one process; whole ones.")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min > self.max:
            what = f"min is {self.min}, but max is {self.max}"
            raise broken(what, fix="raise max or lower min", field="min")
        return self


class ScriptSpec(Section):
    """A whole script job. Of what its program computes nothing is known, and nothing promised."""

    name: Slug = Field(description="Names the job and its metrics.")
    command: Command = Field(
        description="The program and its arguments, as a list. It runs in the job file's folder, once for "
        "each worker, with torchrun's environment variables."
    )
    env: Annotated[dict[str, str], AfterValidator(_env)] = Field(
        default_factory=dict,
        description="More environment variables. They are kept with the job: no place for secrets.",
    )
    workers: ScriptWorkers = Field(
        default=ScriptWorkers(), description="How many processes, and their resources."
    )
    grace: Annotated[Time, AfterValidator(_grace)] = Field(
        default="30s",
        description="How long the program has after SIGTERM, to save, before it is killed.",
    )
    queue: Slug = Field(default="default", description="The queue that the job waits in.")
    priority: int = Field(default=0, description="Higher goes first within a queue.")
    schedule: Schedule = Field(
        default=Schedule(), description="Where a server may place it, and when it may stop it."
    )

    @property
    def grace_seconds(self) -> float:
        """`grace` in seconds."""
        return seconds(self.grace)
