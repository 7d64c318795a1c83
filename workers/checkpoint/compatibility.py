"""May this job go on from that checkpoint? Only if it would go on exactly as the job that wrote it. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from workers.checkpoint.draft import describe_init, describe_source, describe_sources
from workers.checkpoint.manifest import Manifest
from workers.errors import CheckpointError
from workers.protocol import Numerics, TrainJob

Json = Any


@dataclass(frozen=True, kw_only=True)
class JobFacts:
    """All that a job's bits depend on, apart from the state that it resumes.

    Attributes:
        sources: see `describe_sources`.
        train: what identifies the training data and its order, see `describe_source`.
        init_from: what the initial state is made of, see `describe_init`.
        freeze: patterns of parameters that are not trained, sorted.
        fingerprint: the environment.
        numerics: RELAXED allows another environment and changed recipe sources.
    """

    recipe: str
    sources: Mapping[str, Json]
    params: Mapping[str, Json]
    seed: int
    virtual_ranks: int
    batch_size: int
    max_grad_norm: float | None
    train: Mapping[str, Json] | None
    init_from: Mapping[str, Json] | None
    freeze: Sequence[str]
    fingerprint: Mapping[str, Json]
    numerics: Numerics

    @classmethod
    def of(cls, job: TrainJob, fingerprint: Mapping[str, Json]) -> JobFacts:
        """The facts of a job in the environment that its workers report."""
        return cls(
            recipe=job.recipe,
            sources=describe_sources(job),
            params=job.params,
            seed=job.seed,
            virtual_ranks=job.virtual_ranks,
            batch_size=job.batch_size,
            max_grad_norm=job.max_grad_norm,
            train=describe_source(job.train),
            init_from=describe_init(job.init_from),
            freeze=sorted(set(job.freeze)),
            fingerprint=fingerprint,
            numerics=job.numerics,
        )


def check_resume(manifest: Manifest, facts: JobFacts) -> None:
    """Check that going on from `manifest` gives what an undisturbed run would have given.

    Raises:
        CheckpointError: it would not; the message lists what differs, "then → now".
    """
    job = [*_job_differences(manifest, facts)]
    environment = [*environment_differences(manifest, facts)]
    if job:
        fix = "resume with the job file that wrote it, or start anew in another checkpoint folder"
        digest = _pinned_digest(manifest, facts)
        if digest is not None:
            fix = f"read the version that it had read: --set data.train.version={beginning(digest)}; or {fix}"
    elif environment and facts.numerics is not Numerics.RELAXED:
        fix = "restore what it was, or set `numerics: relaxed` and do without equal bits"
    else:
        return
    what = "the checkpoint was written under other conditions: " + "; ".join(job + environment)
    raise CheckpointError(what, where=f"checkpoint of job {manifest.job} at step {manifest.step}", fix=fix)


def _job_differences(manifest: Manifest, facts: JobFacts) -> Iterator[str]:
    for name in ("recipe", "seed", "virtual_ranks", "batch_size", "max_grad_norm"):
        yield from _changes({name: getattr(manifest, name)}, {name: getattr(facts, name)})
    yield from _changes(manifest.params, facts.params, "params.")
    yield from _changes(_flat(manifest.data["train"]), _flat(facts.train), "train data ")
    yield from _changes(manifest.init_from or {}, facts.init_from or {}, "init_from.")
    yield from _changes({"freeze": list(manifest.freeze)}, {"freeze": list(facts.freeze)})


def environment_differences(manifest: Manifest, facts: JobFacts) -> Iterator[str]:
    """What is not as it was around the job: environment and recipe sources, each "then → now"."""
    yield from _changes(manifest.fingerprint, facts.fingerprint, "environment ")
    for path in sorted(manifest.sources.keys() | facts.sources.keys()):
        before, after = manifest.sources.get(path), facts.sources.get(path)
        if before != after:
            yield f"{path} {'is new' if before is None else 'is gone' if after is None else 'changed'}"


def _changes(old: Mapping[str, Json], new: Mapping[str, Json], prefix: str = "") -> Iterator[str]:
    for key in sorted(old.keys() | new.keys()):
        before, after = (_text(side[key]) if key in side else "(none)" for side in (old, new))
        if before != after:
            yield f"{prefix}{key}: {before} → {after}"


def beginning(digest: str, length: int = 12) -> str:
    """How a digest begins: so much of it, and more if a job file would take that for a number (`12e345`)."""
    while re.fullmatch(r"[0-9]+(e[0-9]+)?", digest[:length]) and length < len(digest):
        length += 1
    return digest[:length]


def _pinned_digest(manifest: Manifest, facts: JobFacts) -> str | None:
    """The version of the data set that the checkpoint's job had read, if there may be another one now."""
    before, now = manifest.data["train"] or {}, facts.train or {}
    if "digest" in before and "digest" in now and before["digest"] != now["digest"]:
        return str(before["digest"])
    return None


def _flat(train: Mapping[str, Json] | None) -> dict[str, Json]:
    """What identifies the training data, each source of a mixture by its number: `mix.0.weight`."""
    flat = dict(train or {})
    for number, source in enumerate(flat.pop("mix", [])):
        flat |= {f"mix.{number}.{key}": value for key, value in source.items()}
    return flat


def _text(value: Json) -> str:
    return json.dumps(value, sort_keys=True)
