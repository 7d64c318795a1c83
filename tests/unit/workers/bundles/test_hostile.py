from __future__ import annotations

import hashlib
import io
import tarfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workers.bundles.archive import BadArchive, Entry, encode
from workers.bundles.limits import Limits
from workers.bundles.unpack import unpack, verify
from workers.errors import InputError


def _tar(*members: tarfile.TarInfo, contents: bytes = b"", mode: str = "w", **options) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode, **options) as archive:
        for member in members:
            archive.addfile(member, io.BytesIO(contents[: member.size] if member.isreg() else b""))
    return buffer.getvalue()


def _member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", **facts) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, link
    for fact, value in facts.items():
        setattr(member, fact, value)
    return member


HOSTILE = {
    "absolute": [_member("/etc/passwd")],
    "above": [_member("../x")],
    "above, in the middle": [_member("a/../../x")],
    "dotted": [_member("./x")],
    "double slash": [_member("a//x")],
    "an absolute link": [_member("x", tarfile.SYMTYPE, "/etc/passwd")],
    "a link above": [_member("a/x", tarfile.SYMTYPE, "../../x")],
    "a file through a link": [_member("a", tarfile.SYMTYPE, "b"), _member("a/x")],
    "a link through a link": [
        _member("a", tarfile.SYMTYPE, "b/.."),
        _member("b", tarfile.SYMTYPE, "c/d/.."),
        _member("c", tarfile.SYMTYPE, "a/.."),
    ],
    "links that climb out together": [
        _member("a", tarfile.SYMTYPE, "d/e/f"),
        _member("b", tarfile.SYMTYPE, "a/../../../../x"),
    ],
    "a link to itself": [_member("a", tarfile.SYMTYPE, "a")],
    "a file below a file": [_member("a"), _member("a/x")],
    "twice": [_member("a"), _member("a")],
    "a hard link": [_member("a"), _member("b", tarfile.LNKTYPE, "a")],
    "a hard link to the outside": [_member("b", tarfile.LNKTYPE, "/etc/shadow")],
    "a device": [_member("a", tarfile.CHRTYPE, devmajor=1, devminor=3)],
    "a pipe": [_member("a", tarfile.FIFOTYPE)],
    "a folder": [_member("a", tarfile.DIRTYPE)],
    "a sparse file": [_member("a", tarfile.GNUTYPE_SPARSE)],
    "set-user-id": [_member("a", mode=0o4755)],
    "somebody's": [_member("a", uid=1000)],
    "a date": [_member("a", mtime=1)],
    "not in order": [_member("b"), _member("a")],
    "too deep": [_member("/".join("a" * 100))],
    "a part too long": [_member("a" * 256)],
    "too many": [_member(f"a{number}") for number in range(6)],
}
LIMITS = Limits(size=1000, files=5)


@pytest.mark.parametrize("name", HOSTILE)
def test_what_pack_would_not_have_written_is_refused_and_nothing_is_written(name, tmp_path):
    data = _tar(*HOSTILE[name], format=tarfile.PAX_FORMAT)
    target = tmp_path / "in" / "target"
    with pytest.raises(BadArchive):
        unpack(data, hashlib.sha256(data).hexdigest(), target, LIMITS)
    assert not (tmp_path / "in").exists()


def test_a_compressed_archive_is_not_even_expanded():
    data = _tar(_member("zeros", size=10**7), contents=bytes(10**7), mode="w:gz")
    assert len(data) < 20_000
    with pytest.raises(BadArchive, match="not a tar archive"):
        verify(data, hashlib.sha256(data).hexdigest())


def test_a_header_that_promises_more_than_there_is_is_refused():
    data = bytearray(encode([Entry(name="a", content=b"1")]))
    data[124:136] = b"77777777777\0"  # 8 GiB
    data[148:156] = b"%06o\0 " % (sum(data[:148]) + 8 * 32 + sum(data[156:512]))
    with pytest.raises(BadArchive):
        verify(bytes(data), hashlib.sha256(data).hexdigest())


def test_files_that_are_too_large_together_are_refused():
    data = encode([Entry(name=name, content=bytes(400)) for name in "abc"])
    with pytest.raises(BadArchive, match=r"more than 5 files or 1,000 bytes"):
        verify(data, hashlib.sha256(data).hexdigest(), LIMITS)


def test_another_digest_is_refused():
    data = encode([Entry(name="a")])
    with pytest.raises(BadArchive, match="altered, or cut short"):
        verify(data, "0" * 64)
    with pytest.raises(BadArchive, match="not a SHA-256"):
        verify(data, "../../etc/passwd")


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_one_changed_byte_anywhere_is_refused_or_changes_a_content(data):
    archive = bytearray(encode([Entry(name="a.py", content=b"print(1)"), Entry(name="b", link="a.py")]))
    position = data.draw(st.integers(0, len(archive) - 1))
    archive[position] ^= data.draw(st.integers(1, 255))
    try:
        entries = verify(bytes(archive), hashlib.sha256(archive).hexdigest())
    except BadArchive:
        return
    assert encode(entries) == bytes(archive), "there is one archive for each set of files"
    assert len(entries) == 2


@given(st.binary(max_size=2000))
@settings(max_examples=200, deadline=None)
def test_any_bytes_at_all_are_refused_in_words(data):
    with pytest.raises(BadArchive):
        verify(data, hashlib.sha256(data).hexdigest())


def test_nothing_that_is_there_is_replaced(tmp_path):
    data = encode([Entry(name="a")])
    sha256 = hashlib.sha256(data).hexdigest()
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/mine").write_text("mine")
    for name in ("file", "folder"):
        with pytest.raises(InputError, match="something is there already"):
            unpack(data, sha256, tmp_path / name)
    assert (tmp_path / "file").read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]
    (tmp_path / "empty").mkdir()
    unpack(data, sha256, tmp_path / "empty")
    assert (tmp_path / "empty/a").is_file()
