"""Object storage behind one small class: folders, and buckets of S3, Google Cloud Storage and Azure.

Everything that leaves or enters a store passes here, so that retries, credentials and the wording of
errors are the same everywhere. Never fork after a store was opened: the client's threads do not survive it.
"""

from __future__ import annotations

import errno
import math
import os
import re
import secrets
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar
from urllib.parse import unquote, urlsplit

from workers.mapping import MappedFile, MappedFiles, can_map
from workers.storage_clients import clients
from workers.storage_errors import AlreadyExists, Changed, NotFound, translate

if TYPE_CHECKING:
    from obstore import GetOptions, ObjectMeta

__all__ = ["AlreadyExists", "Changed", "NotFound", "ObjectInfo", "Store", "as_uri", "local_path"]

#: How this and every other writer of such folders names a file that is not finished; listings skip them.
_UNFINISHED = re.compile(r"#\d+$")

R = TypeVar("R")


@dataclass(frozen=True, kw_only=True)
class ObjectInfo:
    """One stored object.

    Attributes:
        name: relative to the store's root.
        size: in bytes.
        etag: its entity tag.
        modified: when it was written last, in seconds since the epoch, by the store's clock.
    """

    name: str
    size: int
    etag: str
    modified: float


class Store:
    """A prefix in an object store. Object names are relative to it and use `/`.

    Args:
        uri: `file:///folder`, `s3://bucket/prefix`, `gs://bucket/prefix` or `az://container/prefix`. Settings
            and credentials are those of each cloud's own SDK (`AWS_ENDPOINT_URL_S3`, `AWS_PROFILE`,
            `GOOGLE_APPLICATION_CREDENTIALS`, `AZURE_STORAGE_ACCOUNT_NAME`, ...). Nothing needs to exist yet.

    Raises:
        InputError: the URI has another scheme or names nothing.

    Every method that reaches the store may raise `NotFound`, `AccessError` or `UnreachableError`.
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri.rstrip("/")
        parts = urlsplit(self.uri)
        self._folder = local_path(self.uri) if parts.scheme == "file" else None
        self._prefix = unquote(parts.path).strip("/")
        self._client, self._reading = clients(self.uri)
        self._mapped = MappedFiles()

    def __reduce__(self) -> tuple[type[Store], tuple[str]]:
        return Store, (self.uri,)

    def url(self, name: str = "") -> str:
        """The full URI of an object, for messages."""
        return f"{self.uri}/{name}" if name else self.uri

    def get(self, name: str) -> bytes:
        """The whole object."""
        return bytes(self.get_view(name))

    def get_view(self, name: str) -> memoryview:
        """The whole object, without a copy."""
        import obstore

        if self._folder is not None:
            path = local_path(self.uri) / name
            return self._call(name, lambda: _read_file(path, 0, path.stat().st_size))
        return self._call(name, lambda: memoryview(obstore.get(self._client, self._path(name)).bytes()))

    def get_range(self, name: str, start: int, length: int, *, etag: str | None = None) -> memoryview:
        """`length` bytes from offset `start`, without a copy; fewer where the object ends earlier.

        Args:
            name: the object.
            start: offset in bytes.
            length: how many bytes; at least 1.
            etag: read only this version of the object.

        Raises:
            Changed: the object's entity tag is another one.
        """
        import obstore

        path = self._path(name)
        if etag is None and self._folder is not None:  # five times as fast as the client below
            return self._call(name, lambda: _read_file(local_path(self.uri) / name, start, length))
        if etag is None:
            return self._call(
                name, lambda: memoryview(obstore.get_range(self._reading, path, start=start, length=length))
            )
        pinned: GetOptions = {"range": (start, start + length), "if_match": etag}
        return self._call(name, lambda: memoryview(obstore.get(self._reading, path, options=pinned).bytes()))

    def map(self, name: str) -> MappedFile | None:
        """An object that is a file of this machine, mapped; None if it is not, or this system cannot do it.

        For large objects of which many ranges are wanted.
        """
        if self._folder is None or not can_map():
            return None
        return self._call(name, lambda: self._mapped.get(local_path(self.uri) / name))

    def put(self, name: str, data: bytes | memoryview) -> None:
        """Write or replace an object: atomic, and durable on return."""
        self._write(name, data, create=False)

    def create(self, name: str, data: bytes | memoryview) -> None:
        """Write an object that must not exist yet (`If-None-Match: *`).

        Raises:
            AlreadyExists: somebody else's object is there; nothing was changed.
        """
        self._write(name, data, create=True)

    def head(self, name: str) -> ObjectInfo:
        """What the store says of an object. S3 rounds times down to seconds here, and not in listings."""
        import obstore

        return _info(name, self._call(name, lambda: obstore.head(self._client, self._path(name))))

    def exists(self, name: str) -> bool:
        """Whether the object is there."""
        try:
            self.head(name)
        except NotFound:
            return False
        return True

    def list(self, folder: str = "") -> Iterator[ObjectInfo]:
        """All objects below `folder` (a whole path component), in name order; none is not an error."""
        import obstore

        under = self._path(folder)
        found = self._call(folder, lambda: obstore.list(self._client, under or None).collect())
        strip = len(self._prefix) + 1 if self._prefix else 0
        for meta in sorted(found, key=lambda meta: meta["path"]):
            yield _info(meta["path"][strip:], meta)

    def delete(self, names: Iterable[str]) -> None:
        """Delete objects; one that is already gone is not an error."""
        import obstore

        for name in names:
            path = self._path(name)
            try:
                self._call(name, lambda path=path: obstore.delete(self._client, path))  # type: ignore[misc]
            except NotFound:
                continue

    def unfinished(self, folder: str = "", *, before: float = math.inf) -> tuple[str, ...]:
        """Names of files below `folder` that writers did not finish, nor touch after `before`.

        `before` is in seconds since the epoch. One that is being written looks like one whose writer was
        killed. Only local folders have such files; an S3 upload is there whole or not at all.
        """
        if self._folder is None:
            return ()
        left = (path for path in (self._folder / folder).rglob("*#*") if _UNFINISHED.search(path.name))
        return tuple(str(path.relative_to(self._folder)) for path in left if _modified(path) <= before)

    def remove_unfinished(self, folder: str = "", *, before: float = math.inf) -> int:
        """Remove these files; returns how many. Without `before`, never while anybody writes there."""
        left = self.unfinished(folder, before=before)
        for name in left:
            path = local_path(self.uri) / name
            self._call(name, lambda path=path: path.unlink(missing_ok=True))  # type: ignore[misc]
        return len(left)

    def _path(self, name: str) -> str:
        return "/".join(part for part in (self._prefix, name) if part)

    def _write(self, name: str, data: bytes | memoryview, *, create: bool) -> None:
        import obstore

        if self._folder is not None:
            self._call(name, lambda: _write_file(local_path(self.uri) / name, data, create=create))
        else:
            mode: Literal["create", "overwrite"] = "create" if create else "overwrite"
            path, octets = self._path(name), memoryview(data).cast("B")
            self._call(name, lambda: obstore.put(self._client, path, octets, mode=mode, use_multipart=False))

    def _call(self, name: str, call: Callable[[], R]) -> R:
        from obstore.exceptions import BaseError

        try:
            return call()
        except (BaseError, OSError) as error:
            raise translate(error, self.url(name)) from error


def _info(name: str, meta: ObjectMeta) -> ObjectInfo:
    modified = meta["last_modified"].timestamp()
    return ObjectInfo(name=name, size=meta["size"], etag=_quoted(meta["e_tag"] or ""), modified=modified)


def _quoted(etag: str) -> str:
    """As requests want it: Azure's listings leave the quotation marks out."""
    return f'"{etag}"' if etag.startswith("0x") else etag


def _modified(path: Path) -> float:
    """As `ObjectInfo.modified`, whole microseconds."""
    try:
        return path.stat().st_mtime_ns // 1000 / 10**6
    except FileNotFoundError:  # finished meanwhile
        return math.nan


def as_uri(text: str) -> str:
    """What a user typed as a URI: text without a scheme is a local path."""
    return text if "://" in text else Path(text).expanduser().resolve().as_uri()


def local_path(uri: str) -> Path:
    """The folder or file that a `file://` URI names."""
    return Path(unquote(urlsplit(uri).path))


def _read_file(path: Path, start: int, length: int) -> memoryview:
    """A range of a file, read straight into memory of Arrow's, which keeps what was freed for the next one.

    Fresh memory costs more than the reading: the kernel clears it, page by page.
    """
    import pyarrow as pa

    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        view = memoryview(pa.allocate_buffer(length)).cast("B")
        filled = 0
        while filled < length:  # one call reads 2 GiB at most
            count = os.preadv(descriptor, [view[filled:]], start + filled)
            if not count:
                break
            filled += count
    finally:
        os.close(descriptor)
    return view[:filled]


def _write_file(path: Path, data: bytes | memoryview, *, create: bool) -> None:
    """Temporary file, fsync, rename, fsync of the folder: a reader sees all of it or nothing.

    While it is unfinished, the file has a name that listings skip.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:  # it is a file
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path.parent)) from error
    temporary = path.with_name(f"{path.name}#{secrets.randbelow(10**15)}")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if create:
            os.link(temporary, path)
        else:
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
