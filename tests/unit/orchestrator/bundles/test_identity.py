from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.bundles import keep, pack, unpack, verify
from orchestrator.bundles.kept import bundle_name, fetch, is_stored
from tests.support.bundle_trees import contents, trees, write
from workers.bundles.archive import Entry, decode, encode
from workers.bundles.limits import LIMITS
from workers.errors import InputError
from workers.storage import Store


@given(tree=trees)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_packing_what_was_unpacked_gives_the_same_bundle(tree):
    with tempfile.TemporaryDirectory() as base:
        source, copy = Path(base, "source"), Path(base, "copy")
        write(tree, source)
        first = pack(source)
        unpack(first.data, first.sha256, copy)
        again = pack(copy)
        assert (again.sha256, again.data) == (first.sha256, first.data)
        assert {name: value[0] for name, value in contents(copy).items()} == {
            entry.name: bytes(entry.content) for entry in decode(first.data, LIMITS)
        }


@given(tree=trees, umask=st.sampled_from([0o000, 0o022, 0o077]), mtime=st.integers(0, 2**31))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_the_digest_depends_on_nothing_but_names_contents_and_who_may_execute(tree, umask, mtime):
    with tempfile.TemporaryDirectory() as base:
        one, other = Path(base, "one"), Path(base, "other")
        write(tree, one)
        before = os.umask(umask)
        try:
            write(tree, other, backwards=True, mtime=float(mtime))
            assert pack(other).sha256 == pack(one).sha256
        finally:
            os.umask(before)


names = st.text("abc/.é", min_size=1, max_size=8)


@given(st.dictionaries(names, st.binary(max_size=40), max_size=5))
@settings(max_examples=200, deadline=None)
def test_what_can_be_encoded_is_decoded_to_the_same_and_nothing_else_is_written(files):
    entries = [Entry(name=name, content=content) for name, content in files.items()]
    try:
        archive = encode(entries)
        found = decode(archive, LIMITS)
    except InputError:
        return  # a name that no bundle has; see test_hostile
    assert {entry.name: bytes(entry.content) for entry in found} == files
    assert encode(reversed(entries)) == archive


def test_the_digest_of_a_known_folder_never_changes(tmp_path):
    """A change of the format would send every job's folder again, and break what names bundles."""
    write({"train.py": (b"print('hello')\n", False), "run.sh": (b"#!/bin/sh\n", True)}, tmp_path)
    (tmp_path / "link").symlink_to("train.py")
    (tmp_path / ("é" * 60)).mkdir()
    (tmp_path / ("é" * 60) / "x").write_bytes(b"1")
    assert pack(tmp_path).sha256 == "b4231dc45b09e37874fc5e2d6b7c0775fe3f49d1718740b1684551237f994eb2"


def test_links_within_the_folder_and_executables_arrive_as_they_were(tmp_path):
    source = tmp_path / "source"
    write({"bin": {"go": (b"#!/bin/sh\n", True)}, "a": {"b": {"data": (b"1", False)}}}, source)
    (source / "a/b/go").symlink_to("../../bin/go")
    (source / "latest").symlink_to("a/b")
    (source / "dangling").symlink_to("a/nothing")
    bundle = pack(source)
    unpack(bundle.data, bundle.sha256, tmp_path / "copy")
    assert contents(tmp_path / "copy") == {
        "bin/go": (b"#!/bin/sh\n", 0o755),
        "a/b/data": (b"1", 0o644),
        "a/b/go": "../../bin/go",
        "latest": "a/b",
        "dangling": "a/nothing",
    }
    assert (tmp_path / "copy/bin/go").stat().st_mtime > 1e9, "tools refuse files from 1970"


def test_a_bundle_is_stored_once_and_comes_back(tmp_path):
    write({"train.py": (b"x", False)}, tmp_path / "job")
    store, bundle = Store((tmp_path / "store").as_uri()), pack(tmp_path / "job")
    assert not is_stored(store, bundle.sha256)
    assert [keep(store, bundle), keep(store, bundle)] == [True, False]
    assert is_stored(store, bundle.sha256)
    assert bytes(fetch(store, bundle.sha256)) == bundle.data


def test_a_stored_bundle_that_was_altered_or_is_gone_is_refused(tmp_path):
    write({"train.py": (b"x", False)}, tmp_path / "job")
    store, bundle = Store((tmp_path / "store").as_uri()), pack(tmp_path / "job")
    with pytest.raises(InputError, match="no such bundle"):
        fetch(store, bundle.sha256)
    store.put(bundle_name(bundle.sha256), bundle.data.replace(b"x", b"y", 1))
    with pytest.raises(InputError, match="altered, or cut short"):
        fetch(store, bundle.sha256)


def test_verifying_tells_what_is_in_a_bundle(tmp_path):
    write({"b.py": (b"bb", False), "a": {"c.py": (b"", False)}}, tmp_path / "job")
    bundle = pack(tmp_path / "job")
    assert [entry.name for entry in verify(bundle.data, bundle.sha256)] == ["a/c.py", "b.py"]
    assert bundle.files == 2
