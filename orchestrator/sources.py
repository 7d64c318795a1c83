"""The Python files that a recipe beside its job file may import."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from workers.errors import InputError

FILES_MAX = 200
BYTES_MAX = 4_000_000
_SKIPPED = {"__pycache__", "node_modules", "site-packages"}


def collect_sources(job_file: Path, recipe: str) -> dict[str, bytes]:
    """What a worker needs to import the recipe: modules and packages in the job file's folder.

    Args:
        job_file: the job file.
        recipe: `module:Class`.

    Returns:
        contents by path relative to the folder, in path order: each `*.py` in it, and all `*.py` of each
        package in it. Hidden folders and virtual environments are left out, and so are links to folders.
        Empty when the recipe's module is not there: workers then import it from their own path.

    Raises:
        InputError: so many files that this is hardly the recipe's own folder.
    """
    folder = job_file.absolute().parent
    top = recipe.partition(":")[0].partition(".")[0]
    if not (folder / f"{top}.py").is_file() and not (folder / top / "__init__.py").is_file():
        return {}
    sources: dict[str, bytes] = {}
    size = 0
    for path in _python_files(folder):
        sources[path.relative_to(folder).as_posix()] = content = path.read_bytes()
        size += len(content)
        if len(sources) > FILES_MAX or size > BYTES_MAX:
            what = f"more than {FILES_MAX} Python files or {BYTES_MAX:,} bytes beside the job file"
            fix = "move the job file and its recipe into a folder of their own"
            raise InputError(what, where=str(folder), fix=fix)
    return dict(sorted(sources.items()))


def _python_files(folder: Path) -> Iterator[Path]:
    """Modules of `folder`, then those of its packages and everything below these."""
    for path in sorted(folder.iterdir()):
        if path.suffix == ".py" and path.is_file():
            yield path
        elif _is_ours(path) and (path / "__init__.py").is_file():
            yield from _package_files(path)


def _package_files(package: Path) -> Iterator[Path]:
    for path in sorted(package.iterdir()):
        if path.suffix == ".py" and path.is_file():
            yield path
        elif _is_ours(path):
            yield from _package_files(path)


def _is_ours(path: Path) -> bool:
    if path.name.startswith(".") or path.name in _SKIPPED or path.is_symlink() or not path.is_dir():
        return False
    return not (path / "pyvenv.cfg").exists()
