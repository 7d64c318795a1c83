"""What decoding needs and may meet: a library that is missing, and bytes that are not what they should be."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from workers.errors import DataError, LockstepError, RecipeError

REPLACE = "replace this sample, or take it out of the data set"


def library(module: str, *, extra: str, why: str) -> Any:
    """Import an optional library.

    Args:
        module: to import.
        extra: of Lockstep, that brings it.
        why: what it is needed for: "to decode JPEG".

    Raises:
        RecipeError: it is not installed, or does not work; names what to install.
    """
    try:
        return importlib.import_module(module)
    except (ImportError, OSError, RuntimeError) as error:  # a shared library that is missing is any of these
        package = module.partition(".")[0]
        missing = isinstance(error, ModuleNotFoundError) and error.name == package
        what = f"{package} is not installed" if missing else f"{package} cannot be imported: {error}"
        raise RecipeError(
            f"{what}; it is needed {why}",
            fix=f"pip install 'lockstep[{extra}]', on every machine that trains",
        ) from error


@contextmanager
def damage_named(kind: str, name: str | None) -> Iterator[None]:
    """Whatever a decoder raises in here is about the bytes that it was given.

    Args:
        kind: what they should be: "image".
        name: of the sample.

    Raises:
        DataError: names the sample.
    """
    try:
        yield
    except (LockstepError, MemoryError):
        raise
    except Exception as error:
        what = f"the {kind} does not decode: {type(error).__name__}: {error}"
        raise DataError(what, where=name, fix=REPLACE) from error
