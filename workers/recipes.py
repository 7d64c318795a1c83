"""From a job's `recipe: module:Class` to an object: import, construct, and blame the right code."""

from __future__ import annotations

import importlib
import sys
import tempfile
import traceback
from pathlib import Path
from types import TracebackType

from workers.errors import LockstepError, RecipeError
from workers.protocol import TrainJob
from workers.recipe import Recipe

_OURS = str(Path(__file__).parent)


def load_recipe(job: TrainJob) -> Recipe:
    """Import the job's recipe, from beside the job file first, and construct it with its parameters.

    Raises:
        RecipeError: it does not import, is not a Recipe, or does not take these parameters. `trace` of the
            error's cause shows the user's frames (see `user_trace`).
    """
    module_name, _, class_name = job.recipe.partition(":")
    folder = _source_folder(job)
    if folder is not None:
        sys.path.insert(0, str(folder))
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name == module_name:
            fix = f"put {module_name}.py beside the job file, or install it on every node"
            raise RecipeError(f"there is no module {module_name}", where="recipe", fix=fix) from None
        raise RecipeError(f"recipe {job.recipe} does not import", where="recipe") from error
    except Exception as error:
        raise RecipeError(f"recipe {job.recipe} does not import", where="recipe") from error
    found = getattr(module, class_name, None)
    if not (isinstance(found, type) and issubclass(found, Recipe)):
        recipes = [n for n, v in vars(module).items() if isinstance(v, type) and issubclass(v, Recipe)]
        fix = f"{module_name} has {', '.join(n for n in recipes if n != 'Recipe') or 'no subclass of workers.Recipe'}"
        raise RecipeError(f"{class_name or '(nothing)'} is not a recipe", where=f"recipe: {job.recipe}", fix=fix)
    try:
        return found(**job.params)
    except Exception as error:
        raise RecipeError(f"recipe {job.recipe} does not accept its params", where="params") from error


def user_trace(error: BaseException) -> str:
    """The traceback of an error as the recipe's author wants it: their frames on top, ours left out.

    A LockstepError that was raised from another one shows that one's.
    """
    if isinstance(error, LockstepError) and error.__cause__ is not None:
        error = error.__cause__
    trace = error.__traceback__
    while trace is not None and _is_ours(trace):
        trace = trace.tb_next
    return "".join(traceback.format_exception(type(error), error, trace or error.__traceback__))


def in_user_code(error: BaseException) -> bool:
    """Whether the error came out of a call into the recipe."""
    trace = error.__traceback__
    while trace is not None:
        if not _is_ours(trace) and "site-packages" not in trace.tb_frame.f_code.co_filename:
            return True
        trace = trace.tb_next
    return False


def _is_ours(trace: TracebackType) -> bool:
    file = trace.tb_frame.f_code.co_filename
    return file.startswith((_OURS, "<frozen importlib")) or "/importlib/" in file


def _source_folder(job: TrainJob) -> Path | None:
    """The submitter's folder when this machine sees the same files in it, else a copy of what was sent."""
    if not job.sources:
        return None
    if job.source_folder is not None:
        folder = Path(job.source_folder)
        if all(_holds(folder / name, content) for name, content in job.sources.items()):
            return folder
    copy = Path(tempfile.mkdtemp(prefix="lockstep-recipe-"))
    for name, content in job.sources.items():
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).write_bytes(content)
    return copy


def _holds(path: Path, content: bytes) -> bool:
    try:
        return path.read_bytes() == content
    except OSError:
        return False
