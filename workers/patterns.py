"""Names that are chosen by pattern, as in `encoder.*`, and the nearest one to a wrong name. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from difflib import get_close_matches
from fnmatch import fnmatchcase


def chosen(patterns: Iterable[str], names: Collection[str]) -> tuple[set[str], list[str]]:
    """The names that match a pattern (`*`, `?`, `[abc]`), and the patterns that match none, in order."""
    found: set[str] = set()
    idle = []
    for pattern in patterns:
        matched = [name for name in names if fnmatchcase(name, pattern)]
        found.update(matched)
        if not matched:
            idle.append(pattern)
    return found, idle


def nearest(wanted: str, names: Collection[str]) -> str:
    """`; the nearest is NAME`, or nothing if none is near.

    What is compared is how names begin, as far as the first star: the rest of a pattern says nothing. That
    all keys begin with `model/` does not make them alike.
    """
    kind = wanted[: wanted.find("/") + 1]
    stem = re.split(r"[*?[]", wanted.removeprefix(kind))[0]
    beginnings: dict[str, str] = {}
    for name in sorted(names):
        beginnings.setdefault(name.removeprefix(kind)[: len(stem)], name)
    near = get_close_matches(stem, beginnings, n=1) if stem else []
    return f"; the nearest is {beginnings[near[0]]}" if near else ""
