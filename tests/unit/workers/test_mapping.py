"""Mapped files: what is read is what is there, and a change does not go unnoticed."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path

import pytest

from workers import mapping
from workers.mapping import MappedFile, MappedFiles, can_map

needs_mapping = pytest.mark.skipif(not can_map(), reason="this kernel cannot read a mapped range: Linux 5.14")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(bytes(range(256)) * 100)
    return path


def wait() -> None:
    """For longer than it is believed that nothing has changed."""
    time.sleep(0.02)


@pytest.mark.parametrize(("start", "length"), [(0, 1), (0, 25_600), (255, 5000), (25_590, 100), (30_000, 5)])
def test_a_range_is_what_is_there(path: Path, start: int, length: int) -> None:
    assert MappedFile(path).range(start, length).to_pybytes() == path.read_bytes()[start : start + length]


def test_what_was_read_outlives_its_file(path: Path) -> None:
    found = MappedFile(path).range(0, 256)
    path.unlink()
    assert found.to_pybytes() == bytes(range(256))


def test_no_descriptor_stays_open(path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    file = MappedFile(path)
    assert file.range(0, 1).to_pybytes() == b"\0"
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("change", ["written", "replaced", "gone"])
def test_a_change_is_seen(path: Path, change: str) -> None:
    file = MappedFile(path)
    assert file.is_current
    wait()
    assert file.is_current
    if change == "written":
        with path.open("r+b") as there:
            there.write(b"x")
    else:
        path.unlink()
        if change == "replaced":
            path.write_bytes(bytes(range(256)) * 100)
    wait()
    assert not file.is_current
    assert not file.is_current, "and it stays so"


def test_a_file_is_mapped_once_while_it_is_held_and_unchanged(path: Path) -> None:
    files = MappedFiles()
    first = files.get(path)
    assert files.get(path) is first
    path.write_bytes(b"another one")
    wait()
    second = files.get(path)
    assert second is not first
    assert second.range(0, 100).to_pybytes() == b"another one"


@needs_mapping
def test_what_cannot_be_read_is_an_error_and_no_signal(path: Path) -> None:
    file = MappedFile(path)
    os.truncate(path, 4096)
    with pytest.raises(OSError, match=os.strerror(errno.EFAULT)):
        file.range(8192, 100)


def test_where_ranges_cannot_be_read_ahead_they_are_mapped_all_the_same(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mapping, "can_map", lambda: False)
    monkeypatch.setattr(mapping, "_POPULATE_READ", 9999)
    assert MappedFile(path).range(1, 3).to_pybytes() == b"\1\2\3"
