"""A bundle → a folder. What is in a bundle was sent by somebody: nothing of it is believed."""

from __future__ import annotations

import hashlib
import io
import os
import re
import shutil
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path

from workers.bundles.archive import BadArchive, Entry, decode
from workers.bundles.limits import LIMITS, Limits
from workers.errors import AccessError, InputError

_SHA256 = re.compile(r"[0-9a-f]{64}")


def verify(data: bytes | memoryview, sha256: str, limits: Limits = LIMITS) -> tuple[Entry, ...]:
    """Check a bundle without writing anything.

    Returns:
        its files, by name.

    Raises:
        BadArchive (an InputError): it is not the bundle of this digest, or none that `pack` would have made.
    """
    if not _SHA256.fullmatch(sha256):
        raise BadArchive("not a SHA-256 in lower-case hexadecimal", where=sha256[:80])
    if len(data) > limits.archive:
        raise BadArchive(f"larger than {limits.archive:,} bytes", where=f"bundle {sha256[:12]}")
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        what = f"its bytes have the SHA-256 {found[:12]}…: it was altered, or cut short"
        raise BadArchive(what, where=f"bundle {sha256[:12]}…", fix="send it again")
    return decode(data, limits)


def unpack(data: bytes | memoryview, sha256: str, target: Path, limits: Limits = LIMITS) -> None:
    """Write a bundle's files into a new folder: all of them, or none, and nothing anywhere else.

    Args:
        data: the archive.
        sha256: what its digest must be.
        target: the folder; it must not exist, or be empty.

    Raises:
        BadArchive (an InputError): see `verify`.
        InputError: there is something at `target` already.
        AccessError: it cannot be written.
    """
    verify(data, sha256, limits)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{target.name[:100]}.", dir=target.parent))
        try:
            with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
                archive.extractall(draft, filter=_as_data)
            draft.chmod(0o755)
            _move(draft, target)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    except tarfile.FilterError as error:
        raise BadArchive(str(error), where=f"bundle {sha256[:12]}…") from error
    except OSError as error:
        raise AccessError(f"cannot be unpacked: {error.strerror}", where=str(target)) from error


def unpack_once(fetch: Callable[[], bytes | memoryview], sha256: str, target: Path) -> None:
    """Have a bundle's files in a folder, which others on this machine may want at the same time.

    Args:
        fetch: gives the archive; not called if the folder is there already.

    Raises:
        see `unpack`.
    """
    if target.is_dir():
        return
    try:
        unpack(fetch(), sha256, target)
    except BadArchive:
        raise
    except InputError:
        if not target.is_dir():  # somebody else was quicker
            raise


def _move(draft: Path, target: Path) -> None:
    """Renaming a folder is atomic, and replaces an empty one only."""
    try:
        os.rename(draft, target)
    except (FileExistsError, NotADirectoryError) as error:
        raise _taken(target) from error
    except OSError as error:
        if target.is_dir() and any(target.iterdir()):
            raise _taken(target) from error
        raise


def _taken(target: Path) -> InputError:
    return InputError("something is there already", where=str(target), fix="name a new folder")


def _as_data(member: tarfile.TarInfo, path: str) -> tarfile.TarInfo | None:
    """The library's own rules too, and today's date: some tools refuse files from 1970."""
    safe = tarfile.data_filter(member, path)
    return safe.replace(mtime=None, deep=False) if safe is not None else None  # type: ignore[arg-type]
