"""What is noted beside a checkpoint: what varies between runs, and what only retention and people ask for."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from workers.checkpoint.objects import sidecar_name
from workers.storage import NotFound, Store

Json = Any


def read_sidecar(store: Store, step: int) -> dict[str, Json]:
    """The sidecar of a step; empty if there is none that can be read. Nothing of a state depends on it."""
    try:
        found = json.loads(store.get(sidecar_name(step)))
    except (NotFound, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def metrics_of(sidecar: Mapping[str, Json]) -> dict[str, float]:
    """What the evaluation after this step gave; what is not a finite number is left out."""
    noted = sidecar.get("metrics")
    return finite(noted) if isinstance(noted, dict) else {}


def finite(metrics: Mapping[str, Json]) -> dict[str, float]:
    """The metrics that are finite numbers: others are no JSON, and no better than another value."""
    return {
        name: float(value)
        for name, value in metrics.items()
        if isinstance(value, (int, float)) and math.isfinite(value)
    }
