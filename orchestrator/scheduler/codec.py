"""Snapshots, plans and configurations as JSON, and back: equal to what they were."""

from __future__ import annotations

from collections.abc import Hashable
from functools import cache
from typing import Any, TypeVar, cast

from pydantic import TypeAdapter, ValidationError

from orchestrator.scheduler.actions import Plan
from orchestrator.scheduler.config import Config
from orchestrator.scheduler.snapshot import Snapshot
from workers.errors import InputError

T = TypeVar("T", Snapshot, Plan, Config)


def to_json(value: Snapshot | Plan | Config) -> bytes:
    """One line of UTF-8."""
    return _adapter(cast(Hashable, type(value))).dump_json(value)


def from_json(kind: type[T], text: bytes | str) -> T:
    """What `to_json` was given.

    Raises:
        InputError: it is something else.
    """
    try:
        value: T = _adapter(cast(Hashable, kind)).validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InputError(
            f"this is no {kind.__name__.lower()}: {first['msg']}",
            where=where or None,
            fix="use a file that `lockstep debug snapshot` wrote",
        ) from error
    return value


@cache
def _adapter(kind: Hashable) -> TypeAdapter[Any]:
    return TypeAdapter(cast(type, kind))
