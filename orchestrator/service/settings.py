"""The scheduler's settings as whoever runs a server writes them."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import yaml
from pydantic import TypeAdapter, ValidationError

from orchestrator.scheduler import Config
from workers.errors import InputError
from workers.patterns import nearest


def read_settings(file: Path) -> Config:
    """A YAML file with fields of `Config`; those that are left out have their defaults.

    Raises:
        InputError: it cannot be read, or something in it is wrong: what, and where.
    """
    fix = "write one setting a line, such as `policy: fair`; docs/scheduler.md lists them"
    try:
        values = yaml.safe_load(file.read_text()) or {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"cannot be read: {str(error).splitlines()[0]}", where=str(file), fix=fix) from error
    if not isinstance(values, dict):
        raise InputError("there are no settings in it", where=str(file), fix=fix)
    names = [field.name for field in fields(Config)]
    for name in values:
        if name not in names:
            raise InputError(
                f"there is no setting {name}{nearest(str(name), names)}", where=str(file), fix=fix
            )
    try:
        return TypeAdapter(Config).validate_python(values)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InputError(first["msg"], where=f"{file}: {where}", fix=fix) from error
