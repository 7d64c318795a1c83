"""Which files of a folder count, by the ignore files in it and above it: git's rules, with git's exceptions.

The innermost file that says something about a path decides, and in it the last line. Nothing below an ignored
folder counts, whatever stands there. `.lockstepignore` is read after the `.gitignore` beside it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from pathspec.patterns.gitignore.spec import GitIgnoreSpecPattern

from workers.errors import InputError

GITIGNORE, LOCKSTEPIGNORE = ".gitignore", ".lockstepignore"
#: How pathspec's expressions go on to what is below a folder. Each path is asked for by itself here.
_BELOW = "(?P<ps_d>/)"
_NEVER = "(?!)"


@dataclass(frozen=True)
class _Rule:
    """One line: whether it leaves out, or takes back; whether it is about folders only; and which paths."""

    leaves_out: bool
    folders_only: bool
    paths: re.Pattern[str]


@dataclass(frozen=True)
class _Level:
    """The rules of one folder: what they start from, their lines, and what is asked for by name."""

    base: str
    rules: tuple[_Rule, ...]
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
        ours = _lines(folder / LOCKSTEPIGNORE)
        rules = [_rule(line, folder) for line in (*_lines(folder / GITIGNORE), *ours)]
        known = tuple(rule for rule in rules if rule is not None)
        named = frozenset(line[1:].lstrip("/") for line in ours if line[:1] == "!")
        return Ignore((*self.levels, _Level(f"{folder}/", known, named))) if known else self

    def ignores(self, path: Path, *, is_folder: bool) -> bool:
        """Whether a path is left out; its folder is not."""
        for level in reversed(self.levels):
            relative = str(path).removeprefix(level.base)
            for rule in reversed(level.rules):
                if (is_folder or not rule.folders_only) and rule.paths.search(relative):
                    return rule.leaves_out
        return False

    def asks_for(self, path: Path) -> bool:
        """Whether a `.lockstepignore` has a line `!path` or `!name`, with the whole path or name in it."""
        return any(
            path.name in level.named or str(path).removeprefix(level.base) in level.named
            for level in self.levels
        )


def _rule(line: str, folder: Path) -> _Rule | None:
    """What a line says; None if it says nothing."""
    text = line if line.endswith("\\ ") else line.rstrip(" ")
    stem = text[:-1] if text.endswith("/") else text
    if not stem.strip("!/"):
        return None
    try:
        pattern = GitIgnoreSpecPattern(stem)
    except ValueError as error:
        fix = "see git's documentation of gitignore"
        raise InputError(f"not a pattern in an ignore file: {line!r}", where=str(folder), fix=fix) from error
    if pattern.include is None or pattern.regex is None:
        return None
    paths = re.compile(pattern.regex.pattern.replace(_BELOW, _NEVER))
    return _Rule(leaves_out=pattern.include, folders_only=stem != text, paths=paths)


def _lines(path: Path) -> list[str]:
    if not path.is_file():
        return []
    return path.read_text(encoding="utf-8", errors="replace").splitlines()
