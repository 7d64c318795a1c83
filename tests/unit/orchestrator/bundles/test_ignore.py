from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.bundles import pack
from workers.bundles.archive import decode
from workers.bundles.limits import LIMITS


def _names(folder: Path) -> set[str]:
    return {entry.name for entry in decode(pack(folder).data, LIMITS)}


def _git(*arguments: str, folder: Path) -> str:
    return subprocess.run(
        ["git", "-c", "core.excludesFile=", *arguments],
        cwd=folder,
        check=True,
        capture_output=True,
        text=True,
    ).stdout


_words = st.sampled_from(["a", "b", "ab", "keep", "x.py", "y.log"])
_globs = st.sampled_from(["a", "b", "*", "**", "a*", "?", "*.py", "*.log", "[ab]", "keep", "x.py", "[!a]*"])
_lines = st.builds(
    lambda no, front, parts, end: f"{no}{front}{'/'.join(parts)}{end}",
    st.sampled_from(["", "", "!"]),
    st.sampled_from(["", "", "/"]),
    st.lists(_globs, min_size=1, max_size=3),
    st.sampled_from(["", "", "/"]),
)
_rules = st.lists(_lines, max_size=4)
_paths = st.lists(_words, min_size=1, max_size=4).map("/".join)


@given(
    files=st.sets(_paths, max_size=10),
    rules=st.dictionaries(st.sampled_from(["", "a", "a/b", "keep"]), _rules),
)
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_the_same_files_count_as_git_would_add(files, rules):
    """Git is the oracle. Its global and private ignore files are not the folder's, and are switched off."""
    with tempfile.TemporaryDirectory() as base:
        folder = Path(base)
        for name in files:
            path = folder / name
            if not any((folder / above).is_file() for above in _prefixes(name)) and not path.is_dir():
                path.parent.mkdir(parents=True, exist_ok=True)
                path.touch()
        for where, lines in rules.items():
            if (folder / where).is_dir():
                (folder / where / ".gitignore").write_text("\n".join(lines))
        _git("init", "-q", folder=folder)
        listed = _git("ls-files", "-z", "--others", "--exclude-per-directory=.gitignore", folder=folder)
        assert _names(folder) == {name for name in listed.split("\0") if name}


def _prefixes(name: str) -> list[str]:
    parts = name.split("/")
    return ["/".join(parts[:count]) for count in range(1, len(parts))]


@pytest.fixture
def folder(tmp_path):
    for name in ("train.py", "data/big.bin", "data/small.txt", "src/deep/x.py", "runs/1/log"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path


def test_our_own_ignore_file_comes_after_gits(folder):
    (folder / ".gitignore").write_text("data/*\nruns/\n")
    (folder / ".lockstepignore").write_text("!data/small.txt\nsrc\n")
    assert _names(folder) == {".gitignore", ".lockstepignore", "train.py", "data/small.txt"}


def test_the_rest_of_the_repository_is_asked_too(folder):
    (folder / ".git").mkdir()
    (folder / ".gitignore").write_text("*.bin\n/data/small.txt\ndata/\n")
    assert _names(folder / "data") == {"small.txt"} - {"small.txt"}
    (folder / ".gitignore").write_text("*.bin\ndata/\n")
    assert _names(folder / "data") == {"small.txt"}, (
        "the job's own folder counts, whatever the repository says"
    )


def test_without_a_repository_nothing_above_the_folder_is_asked(folder):
    (folder / ".gitignore").write_text("*\n")
    assert _names(folder / "data") == {"big.bin", "small.txt"}


@pytest.mark.parametrize(
    "name",
    [
        ".git/config",
        "src/__pycache__/x.pyc",
        "node_modules/left-pad/index.js",
        "env/pyvenv.cfg",
        "conda/conda-meta/history",
        ".mypy_cache/x",
        "src/.git",
    ],
)
def test_what_is_never_a_jobs_own_stays_even_when_asked_for(folder, name):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    (folder / ".lockstepignore").write_text(f"!{name}\n!{name.split('/')[0]}\n")
    assert _names(folder) == {
        ".lockstepignore",
        "train.py",
        "data/big.bin",
        "data/small.txt",
        "src/deep/x.py",
        "runs/1/log",
    }
