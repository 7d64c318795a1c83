"""From a job's `recipe: module:Class` to an object: import and construct."""

from __future__ import annotations

import hashlib
import importlib
import os
import shutil
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

from workers.errors import RecipeError
from workers.protocol import TrainJob
from workers.recipe import Recipe


def load_recipe(job: TrainJob) -> Recipe:
    """Import the job's recipe, from beside the job file first, and construct it with its parameters.

    Raises:
        RecipeError: it does not import, is not a Recipe, or does not take these parameters. Its cause is the
            user's own error, if there is one (see `workers.blame`).
    """
    module_name, _, class_name = job.recipe.partition(":")
    folder = _source_folder(job)
    if folder is not None:
        sys.path.insert(0, str(folder))
    kind = _recipe_class(_imported(module_name), class_name)
    try:
        return kind(**job.params)
    except Exception as error:
        what = f"{job.recipe} cannot be made from its params: {error}"
        raise RecipeError(what, where="params", fix="see its __init__") from error


def _imported(module_name: str) -> ModuleType:
    try:
        return importlib.import_module(module_name)
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and f"{module_name}.".startswith(f"{error.name}."):
            fix = f"put {module_name}.py beside the job file, or install it on every node"
            raise RecipeError(f"there is no module {module_name}", where="recipe", fix=fix) from None
        what = f"module {module_name} does not import: {type(error).__name__}: {error}"
        raise RecipeError(what, where="recipe") from error


def _recipe_class(module: ModuleType, name: str) -> type[Recipe]:
    found = getattr(module, name, None)
    if isinstance(found, type) and issubclass(found, Recipe):
        return found
    own = [
        n for n, v in vars(module).items() if isinstance(v, type) and issubclass(v, Recipe) and v != Recipe
    ]
    what, where = f"{name or '(nothing)'} is not a recipe", f"recipe: {module.__name__}:{name}"
    raise RecipeError(
        what, where=where, fix=f"{module.__name__} has {', '.join(own) or 'no subclass of workers.Recipe'}"
    )


def _source_folder(job: TrainJob) -> Path | None:
    """The submitter's folder when this machine sees the same files in it, else a copy of what was sent."""
    if not job.sources:
        return None
    if job.source_folder is not None:
        folder = Path(job.source_folder)
        if all(_holds(folder / name, content) for name, content in job.sources.items()):
            return folder
    return _copy(job.sources)


def _copy(sources: Mapping[str, bytes]) -> Path:
    """A folder with these files. Its name is their digest, so all workers of this user share it, and one that
    is killed leaves none behind."""
    digest = hashlib.sha256()
    for name, content in sorted(sources.items()):
        digest.update(f"{name}\0{len(content)}\0".encode() + content)
    home = _copies()
    folder = home / digest.hexdigest()[:32]
    if not all(_holds(folder / name, content) for name, content in sources.items()):
        draft = Path(tempfile.mkdtemp(prefix="draft-", dir=home))
        for name, content in sources.items():
            (draft / name).parent.mkdir(parents=True, exist_ok=True)
            (draft / name).write_bytes(content)
        try:
            draft.rename(folder)
        except OSError:  # somebody was faster; or it was damaged, and this one will do
            if not all(_holds(folder / name, content) for name, content in sources.items()):
                return draft
            shutil.rmtree(draft)
    return folder


def _copies() -> Path:
    """Where copies are kept: this user's cache, or else a folder for this process alone."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lockstep" / "recipes"
    try:
        home.mkdir(parents=True, exist_ok=True)
    except OSError:
        return Path(tempfile.mkdtemp(prefix="lockstep-recipes-"))
    return home


def _holds(path: Path, content: bytes) -> bool:
    try:
        return path.read_bytes() == content
    except OSError:
        return False
