"""Files ⇄ one tar archive, in one way only: the same files have the same bytes, on every machine.

POSIX tar, not compressed (what zlib makes of the same bytes differs from version to version), sorted by name,
without times, owners and folders. Of a file's mode only whether its owner may execute it is kept.
"""

from __future__ import annotations

import io
import posixpath
import stat
import tarfile
from collections.abc import Collection, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass

from workers.bundles.limits import LIMITS, Limits
from workers.errors import InputError

_NAME_BYTES_MAX = 255  # of one part of a path, on Linux
_PATH_BYTES_MAX = 1024


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One file or symbolic link.

    Attributes:
        name: relative, with `/`, without `.` and `..`.
        content: a file's bytes.
        executable: its owner may execute it.
        link: what a link points to, relative to where it stands; None for a file.
    """

    name: str
    content: bytes | memoryview = b""
    executable: bool = False
    link: str | None = None


class BadArchive(InputError):
    """An archive that `encode` would not have written."""


def encode(entries: Iterable[Entry]) -> bytes:
    """The archive of these files; in any order.

    Raises:
        BadArchive: `decode` would refuse it: for names that are no plain relative paths, two of them that are
            equal, or links that lead out by way of others.
    """
    known = list(entries)
    for entry in known:
        problem = name_problem(entry.name, LIMITS)
        if problem is not None:
            raise _bad(problem, entry.name)
    _check_tree(known)
    buffer = io.BytesIO()
    _write(buffer, known)
    return buffer.getvalue()


def decode(data: bytes | memoryview, limits: Limits) -> tuple[Entry, ...]:
    """The files of an archive, by name; contents are views of `data`.

    Raises:
        BadArchive: `encode` would not have written it: it is no tar archive, or has names that lead out of a
            folder, links that do, devices, files below files, more than the limits allow, ...
    """
    view = memoryview(data)
    entries: list[Entry] = []
    size = 0
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:", errorlevel=2) as archive:
            for member in archive:
                entries.append(_entry(member, view, limits))
                size += member.size
                if len(entries) > limits.files or size > limits.size:
                    raise _bad(f"more than {limits.files:,} files or {limits.size:,} bytes", member.name)
    except (tarfile.TarError, ValueError, OverflowError, UnicodeError) as error:
        raise _bad(f"not a tar archive: {error}") from error
    _check_tree(entries)
    if not _is_canonical(entries, view):
        raise _bad("not packed in the one way that bundles are: its order, times, owners or padding differ")
    return tuple(entries)


def leads_out(name: str, target: str) -> bool:
    """Whether a link of this name leaves the folder that all names start from, as far as names tell."""
    if target.startswith("/"):
        return True
    reached = posixpath.normpath(posixpath.join(posixpath.dirname(name), target))
    return reached == ".." or reached.startswith("../")


def name_problem(name: str, limits: Limits) -> str | None:
    """What is wrong with a path in a bundle, if anything is."""
    parts = name.split("/")
    try:
        encoded = [part.encode() for part in parts]
    except UnicodeEncodeError:
        return "its name is not UTF-8"
    if not all(parts) or {".", ".."} & set(parts) or "\0" in name:
        return "its name is not a plain relative path"
    if len(parts) > limits.depth or len(name.encode()) > _PATH_BYTES_MAX:
        return f"its path is longer than {limits.depth} folders or {_PATH_BYTES_MAX} bytes"
    if any(len(part) > _NAME_BYTES_MAX for part in encoded):
        return f"its name is longer than {_NAME_BYTES_MAX} bytes"
    return None


def _write(file: io.BytesIO, entries: Iterable[Entry]) -> None:
    """`entries` by name, each header with nothing in it but what an `Entry` has."""
    ordered = sorted(entries, key=lambda entry: entry.name.encode())
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for entry in ordered:
            archive.addfile(_header(entry), io.BytesIO(entry.content) if entry.link is None else None)


def _header(entry: Entry) -> tarfile.TarInfo:
    header = tarfile.TarInfo(entry.name)
    header.mode = 0o755 if entry.executable else 0o644
    if entry.link is not None:
        header.type, header.linkname, header.mode = tarfile.SYMTYPE, entry.link, 0o777
    else:
        header.size = len(entry.content)
    return header


def _entry(member: tarfile.TarInfo, view: memoryview, limits: Limits) -> Entry:
    """One member, checked by itself."""
    problem = name_problem(member.name, limits)
    if problem is not None:
        raise _bad(problem, member.name)
    if member.type == tarfile.SYMTYPE:
        if leads_out(member.name, member.linkname):
            raise _bad(f"a link out of the folder, to {member.linkname!r}", member.name)
        return Entry(name=member.name, link=member.linkname)
    if member.type != tarfile.REGTYPE or member.sparse is not None:
        raise _bad("neither a file nor a symbolic link", member.name)
    content = view[member.offset_data : member.offset_data + member.size]
    if len(content) != member.size:
        raise _bad("it ends in the middle of a file", member.name)
    return Entry(name=member.name, content=content, executable=bool(member.mode & stat.S_IXUSR))


def _check_tree(entries: Collection[Entry]) -> None:
    """No two of one name, none below a file or a link, and no chain of links that leads out."""
    names = {entry.name for entry in entries}
    if len(names) < len(entries):
        raise _bad("two files have one name")
    for entry in entries:
        for above in _above(entry.name):
            if above in names:
                raise _bad(f"it stands below {above!r}, which is no folder", entry.name)
    links = {entry.name: entry.link for entry in entries if entry.link is not None}
    for name in links:
        if _escapes(name, links):
            raise _bad("a link that leads out of the folder by way of others", name)


def _above(name: str) -> Iterator[str]:
    while name := posixpath.dirname(name):
        yield name


def _escapes(name: str, links: dict[str, str]) -> bool:
    """Follow a link as the kernel does, part by part; a circle leads nowhere."""
    reached: list[str] = []
    ahead = name.split("/")
    for _ in range(len(links) * 4 + 4096):
        if not ahead:
            return False
        part = ahead.pop(0)
        if part in ("", "."):
            continue
        if part == "..":
            if not reached:
                return True
            reached.pop()
            continue
        reached.append(part)
        target = links.get("/".join(reached))
        if target is not None:
            reached.pop()
            ahead = [*target.split("/"), *ahead]
    return True  # a circle, or as good as one


def _is_canonical(entries: Iterable[Entry], view: memoryview) -> bool:
    """Whether packing the same files again gives the same bytes, compared as they are written."""
    with closing(_Comparing(view)) as comparing:
        _write(comparing, entries)
        return comparing.same and comparing.position == len(view)


class _Comparing(io.BytesIO):
    """A file that keeps nothing of what is written to it but whether it was what was expected."""

    def __init__(self, expected: memoryview) -> None:
        super().__init__()
        self._expected = expected
        self.position, self.same = 0, True

    def write(self, data: bytes | bytearray | memoryview, /) -> int:  # type: ignore[override]
        after = self.position + len(data)
        self.same = self.same and self._expected[self.position : after] == data
        self.position = after
        return len(data)

    def tell(self) -> int:
        return self.position


def _bad(what: str, member: str | None = None) -> BadArchive:
    where = f"bundle: {member!r}" if member is not None else "bundle"
    return BadArchive(what, where=where, fix="let `lockstep submit` pack the folder")
