"""Which files of a folder count, by the ignore files in it and above it: git's rules, with git's exceptions.

The innermost file that says something about a path decides, and in it the last line. Nothing below an ignored
folder counts, whatever stands there. `.lockstepignore` is read after the `.gitignore` beside it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pathspec.patterns.gitignore.spec import GitIgnoreSpecPattern

from workers.errors import InputError

GITIGNORE, LOCKSTEPIGNORE = ".gitignore", ".lockstepignore"
#: The group of pathspec's expressions that matches the `/` after a folder's name.
_FOLDER_MARK = "ps_d"


@dataclass(frozen=True)
class _Level:
    """The rules of one folder: what they start from, their patterns, and what is asked for by name."""

    base: str
    patterns: tuple[GitIgnoreSpecPattern, ...]
    named: frozenset[str]


@dataclass(frozen=True)
class Ignore:
    """The rules that hold in a folder, the outermost first. Paths are absolute."""

    levels: tuple[_Level, ...] = ()

    @classmethod
    def above(cls, folder: Path) -> Ignore:
        """What the rest of the repository that a folder is in says of it."""
        ignore = cls()
        inside = [folder, *folder.parents]
        top = next((index for index, each in enumerate(inside) if (each / ".git").exists()), 0)
        for each in reversed(inside[1 : top + 1]):
            ignore = ignore.into(each)
        return ignore

    def into(self, folder: Path) -> Ignore:
        """With the rules of this folder, which is in the one asked before."""
        lines = [line for name in (GITIGNORE, LOCKSTEPIGNORE) for line in _lines(folder / name)]
        if not lines:
            return self
        patterns = tuple(_pattern(line, folder) for line in lines if line.strip())
        named = frozenset(line[1:].lstrip("/") for line in _lines(folder / LOCKSTEPIGNORE) if line[:1] == "!")
        return Ignore((*self.levels, _Level(f"{folder}/", patterns, named)))

    def ignores(self, path: Path, *, is_folder: bool) -> bool:
        """Whether a path is left out; its folder is not."""
        for level in reversed(self.levels):
            relative = (
                f"{path}/".removeprefix(level.base) if is_folder else str(path).removeprefix(level.base)
            )
            for pattern in reversed(level.patterns):
                if _is_meant(pattern, relative):
                    return bool(pattern.include)
        return False

    def asks_for(self, path: Path) -> bool:
        """Whether a `.lockstepignore` has a line `!path` or `!name`, with the whole path or name in it."""
        return any(
            path.name in level.named or str(path).removeprefix(level.base) in level.named
            for level in self.levels
        )


def _pattern(line: str, folder: Path) -> GitIgnoreSpecPattern:
    try:
        return GitIgnoreSpecPattern(line)
    except ValueError as error:
        fix = "see git's documentation of gitignore"
        raise InputError(f"not a pattern in an ignore file: {line!r}", where=str(folder), fix=fix) from error


def _is_meant(pattern: GitIgnoreSpecPattern, relative: str) -> bool:
    """Whether a line is about this path itself: pathspec's expressions match what is below it too."""
    if pattern.include is None or pattern.regex is None:
        return False
    found = pattern.regex.match(relative)
    if found is None:
        return False
    mark = found.start(_FOLDER_MARK) if _FOLDER_MARK in pattern.regex.groupindex else -1
    return mark in (-1, len(relative) - 1)


def _lines(path: Path) -> list[str]:
    if not path.is_file():
        return []
    return path.read_text(encoding="utf-8", errors="replace").splitlines()
