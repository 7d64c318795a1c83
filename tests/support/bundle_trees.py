"""Folders as hypothesis makes them up, and as dictionaries."""

from __future__ import annotations

import os
from pathlib import Path

from hypothesis import strategies as st

_part = st.text(
    st.characters(codec="utf-8", exclude_characters="/\0", exclude_categories=("Cs",)),
    min_size=1,
    max_size=12,
).filter(lambda name: name not in (".", "..") and not name.startswith(".git"))
_leaf = st.tuples(st.binary(max_size=700), st.booleans())
#: name → content and whether it may be executed, or a folder of such.
trees = st.recursive(
    st.dictionaries(_part, _leaf, max_size=4),
    lambda inner: st.dictionaries(_part, st.one_of(_leaf, inner), max_size=4),
    max_leaves=12,
)


def write(tree: dict, folder: Path, *, backwards: bool = False, mtime: float = 0.0) -> None:
    """Make it so, in one order or the other, with these times."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in sorted(tree.items(), reverse=backwards):
        path = folder / name
        if isinstance(value, dict):
            write(value, path, backwards=backwards, mtime=mtime)
        else:
            content, executable = value
            path.write_bytes(content)
            path.chmod(0o700 if executable and backwards else 0o755 if executable else 0o640)
        os.utime(path, (mtime, mtime))


def contents(folder: Path) -> dict[str, object]:
    """Every file and link below a folder, by relative name: its bytes and mode, or its target."""
    found: dict[str, object] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            found[name] = os.readlink(path)
        elif path.is_file():
            found[name] = (path.read_bytes(), path.stat().st_mode & 0o777)
    return found
