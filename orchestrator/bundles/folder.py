"""What of a job's folder goes with it."""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.bundles.ignore import LOCKSTEPIGNORE, Ignore
from orchestrator.bundles.secrets import suspicious_content, suspicious_folder, suspicious_name
from workers.bundles.archive import Entry, leads_out, name_problem
from workers.bundles.limits import Limits
from workers.errors import AccessError, InputError

#: Never part of a job, whatever an ignore file says: histories, caches, and what a package manager makes.
_NEVER = frozenset(
    {
        *(".git", ".hg", ".svn", ".bzr", ".jj"),
        *("__pycache__", ".pytest_cache", ".mypy_cache", ".ruff_cache", ".hypothesis", ".ipynb_checkpoints"),
        *("node_modules", ".tox", ".nox", ".DS_Store"),
    }
)
#: What marks a folder as an environment of venv or conda.
_ENVIRONMENTS = ("pyvenv.cfg", "conda-meta")
_LARGEST = 5
_OUT = f"or leave it out with a line in {LOCKSTEPIGNORE}"


@dataclass
class Listing:
    """What was found.

    Attributes:
        paths: what counts: relative name → where it is, and its size in bytes.
        notes: what was left out though no rule says so, and how to have it in.
        asked: names that an ignore file asks for.
    """

    paths: dict[str, tuple[Path, int]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    asked: set[str] = field(default_factory=set)


def look_through(folder: Path, limits: Limits) -> Listing:
    """What of a folder goes with a job.

    Raises:
        InputError: there is no such folder; it has links out of it, devices or impossible names; or it is too
            large, with its largest files named.
        AccessError: a part of it cannot be read.
    """
    top = folder.resolve()
    if not top.is_dir():
        raise InputError("there is no such folder", where=str(folder))
    listing = Listing()
    try:
        for path, facts in _walk(top, top, Ignore.above(top), listing):
            name = path.relative_to(top).as_posix()
            _check(top, path, name, facts, limits)
            listing.paths[name] = (path, facts.st_size if stat.S_ISREG(facts.st_mode) else 0)
            if len(listing.paths) > limits.files:
                raise _too_many(top, listing, limits)
    except OSError as error:
        raise AccessError(f"cannot be read: {error.strerror}", where=str(error.filename or folder)) from error
    if sum(size for _, size in listing.paths.values()) > limits.size:
        raise _too_large(top, listing, limits)
    return listing


def read(listing: Listing) -> Iterator[Entry]:
    """The listed files themselves; those that turn out to hold a secret are noted, and left out.

    Raises:
        AccessError: one of them cannot be read.
    """
    for name, (path, _) in listing.paths.items():
        try:
            if path.is_symlink():
                yield Entry(name=name, link=os.readlink(path))
                continue
            executable = bool(path.stat().st_mode & stat.S_IXUSR)
            content = path.read_bytes()
        except OSError as error:
            raise AccessError(f"cannot be read: {error.strerror}", where=str(path)) from error
        kind = suspicious_content(content) if name not in listing.asked else None
        if kind is not None:
            listing.notes.append(_left_out(name, f"holds {kind}"))
        else:
            yield Entry(name=name, content=content, executable=executable)


def _walk(top: Path, folder: Path, ignore: Ignore, listing: Listing) -> Iterator[tuple[Path, os.stat_result]]:
    """Files and links below a folder that no rule leaves out, by name."""
    ignore = ignore.into(folder)
    with os.scandir(folder) as found:
        entries = sorted(found, key=lambda entry: entry.name)
    for entry in entries:
        path = Path(entry.path)
        is_folder = entry.is_dir(follow_symlinks=False)
        if entry.name in _NEVER or ignore.ignores(path, is_folder=is_folder):
            continue
        if is_folder and any((path / mark).exists() for mark in _ENVIRONMENTS):
            continue
        kind = suspicious_folder(entry.name) if is_folder else suspicious_name(entry.name)
        name = path.relative_to(top).as_posix()
        if ignore.asks_for(path):
            listing.asked.add(name)
        elif kind is not None:
            listing.notes.append(_left_out(name, f"looks like {kind}"))
            continue
        if is_folder:
            yield from _walk(top, path, ignore, listing)
        else:
            yield path, entry.stat(follow_symlinks=False)


def _check(top: Path, path: Path, name: str, facts: os.stat_result, limits: Limits) -> None:
    problem = name_problem(name, limits)
    if problem is not None:
        raise InputError(problem, where=repr(str(path)), fix=f"rename it, {_OUT}")
    if stat.S_ISLNK(facts.st_mode):
        target = os.readlink(path)
        if leads_out(name, target) or not _stays_in(path, top):
            fix = f"make it a relative link to something in the folder, put a copy there, {_OUT}"
            raise InputError(f"a link out of the job's folder, to {target}", where=str(path), fix=fix)
    elif not stat.S_ISREG(facts.st_mode):
        raise InputError("neither a file, a folder nor a link", where=str(path), fix=f"move it away, {_OUT}")


def _stays_in(link: Path, top: Path) -> bool:
    try:
        return link.resolve().is_relative_to(top)
    except (RuntimeError, OSError):  # it leads in a circle
        return False


def _left_out(name: str, why: str) -> str:
    return f"left out {name}: it {why}; a line `!{name}` in {LOCKSTEPIGNORE} sends it all the same"


def _too_large(top: Path, listing: Listing, limits: Limits) -> InputError:
    sizes = {name: size for name, (_, size) in listing.paths.items()}
    largest = sorted(sizes, key=lambda name: (-sizes[name], name))[:_LARGEST]
    named = ", ".join(f"{name} ({_mib(sizes[name])})" for name in largest)
    what = (
        f"the job's folder has {_mib(sum(sizes.values()))}, more than {_mib(limits.size)}; largest: {named}"
    )
    fix = f"keep data in a store of their own, and name what else is not the job's in {LOCKSTEPIGNORE}"
    return InputError(what, where=str(top), fix=fix)


def _too_many(top: Path, listing: Listing, limits: Limits) -> InputError:
    counts = Counter(name.partition("/")[0] for name in listing.paths if "/" in name)
    named = ", ".join(f"{name} ({count:,})" for name, count in counts.most_common(_LARGEST))
    what = f"the job's folder has more than {limits.files:,} files"
    what += f"; most of those found so far are in {named}" if named else ""
    fix = f"move the job into a folder of its own, or name what is not the job's in {LOCKSTEPIGNORE}"
    return InputError(what, where=str(top), fix=fix)


def _mib(size: int) -> str:
    return f"{size / 1024**2:,.1f} MiB"
