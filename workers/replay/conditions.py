"""Is what is trained now what was trained then? Said before anything is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from workers.checkpoint.compatibility import JobFacts, check_resume, environment_differences
from workers.checkpoint.manifest import Manifest
from workers.errors import CheckpointError
from workers.protocol import Numerics, TrainJob

_FIX = "restore what it was; or go on all the same with --allow-changes, and prove nothing"


def changes(
    manifest: Manifest, job: TrainJob, fingerprint: Mapping[str, Any], *, allowed: bool
) -> tuple[str, ...]:
    """What has changed since a checkpoint was written, "then → now": the environment, the recipe's sources.

    Args:
        job: as it is read now.
        fingerprint: of the environment that it would be trained in now.
        allowed: go on in spite of them.

    Raises:
        CheckpointError: the checkpoint is another job's; or there are changes, and they are not allowed.
    """
    facts = JobFacts.of(job, fingerprint)
    check_resume(manifest, replace(facts, numerics=Numerics.RELAXED))
    found = tuple(environment_differences(manifest, facts))
    if found and not allowed:
        what = "steps would not be those of then: " + "; ".join(found)
        where = f"checkpoint of job {manifest.job} at step {manifest.step}"
        raise CheckpointError(what, where=where, fix=_FIX)
    return found
