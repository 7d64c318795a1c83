"""A job that is handed in over the wire: checked again, whoever says that it was checked. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from orchestrator.api.errors import Wrong
from orchestrator.spec import JobSpec, ScriptSpec, SpecError, check_job


def read_spec(values: Mapping[str, Any]) -> JobSpec | ScriptSpec:
    """A job file's fields as JSON → the job.

    Raises:
        Wrong: all that is wrong with it, a line each.
    """
    try:
        json.dumps(values, allow_nan=False, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise Wrong(422, "a text is not Unicode", where="spec", fix="write it as base64, say") from error
    except ValueError as error:
        fix = "write NaN and infinities as text"
        raise Wrong(422, "a number is not finite", where="spec", fix=fix) from error
    try:
        return check_job(values, "spec")
    except SpecError as error:
        raise Wrong(422, error.what, where="spec", fix=error.fix) from error
    except RuntimeError as error:  # `~somebody` of a machine that does not know them
        raise Wrong(422, str(error), where="spec", fix="write paths as file:///folder") from error


def sizes_fit(spec: Mapping[str, Any], max_workers: int) -> None:
    """Whether a job can use so many workers.

    Raises:
        Wrong: it has fewer virtual ranks.
    """
    vranks = (spec.get("batch") or {}).get("virtual_ranks")
    if isinstance(vranks, int) and max_workers > vranks:
        what = f"{max_workers} workers cannot share {vranks} virtual ranks"
        raise Wrong(422, what, where="workers", fix=f"use at most {vranks} workers")
