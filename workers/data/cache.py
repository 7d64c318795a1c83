"""Blocks on a node's disk, shared by all processes of one user: what one has fetched, none fetches again.

There is no daemon and no shared memory. A block is a file that appears whole (rename) and is never changed; a
lock on a file beside it is held by whoever fetches it, and ends with its process, however that ends. What is
read from the cache is checked like what comes from the store, so a damaged file only costs another fetch.

What goes when room is short: the data sets that were not read for longest, as wholes. A block of a data set
never pushes out another of the same one. Every epoch reads each of its blocks once, in a new order, so a
block that was just read is the one that is wanted again last: none that is there would better go for it.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from threading import get_ident

import pyarrow as pa

from workers.data.fetch import Fetched
from workers.errors import InputError
from workers.mapping import MappedFile

_LOCKS, _SETS, _SIZES = "locks", "sets", "sizes.json"
_LOCK_FILES = 4096
_USED_EVERY_SECONDS = 10.0
_IN_USE_SECONDS = 60.0
_SHARE_OF_FREE = 5


def node_cache(uri: str) -> NodeCache | None:
    """This machine's cache for the data at `uri`; None if that is on this machine, or there is to be none.

    `LOCKSTEP_CACHE` names its folder, or says `off`; `LOCKSTEP_CACHE_BYTES` is its limit, by default a fifth
    of what is free on that disk.

    Raises:
        InputError: the limit is not a number of bytes.
    """
    setting = os.environ.get("LOCKSTEP_CACHE")
    if uri.startswith("file:") or setting == "off":
        return None
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = Path(setting) if setting else home / "lockstep" / "blocks"
    limit = os.environ.get("LOCKSTEP_CACHE_BYTES")
    if limit is not None and not limit.isdecimal():
        fix = "write a whole number, such as 100000000000"
        raise InputError(f"{limit!r} is not a number of bytes", where="LOCKSTEP_CACHE_BYTES", fix=fix)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return NodeCache(folder, int(limit) if limit else shutil.disk_usage(folder).free // _SHARE_OF_FREE)
    except OSError:  # it only costs fetches
        return None


class NodeCache:
    """A folder of blocks.

    Args:
        folder: where they are; on a disk of this machine.
        limit_bytes: of all of them. Other processes may have other limits; each keeps to its own.

    Raises:
        OSError: the folder cannot be used.
    """

    def __init__(self, folder: Path, limit_bytes: int) -> None:
        self._folder, self.limit_bytes = folder, limit_bytes
        for name in (_LOCKS, _SETS):
            (folder / name).mkdir(parents=True, exist_ok=True)
        self._used: dict[str, float] = {}
        with self._room() as sizes:  # a process that was killed may have kept a block without noting it
            sizes.clear()
            sizes |= {entry.name: _size(Path(entry)) for entry in os.scandir(folder / _SETS)}

    def block(
        self,
        dataset: str,
        number: int,
        fetch: Callable[[], Fetched],
        fits: Callable[[pa.Buffer], bool],
        *,
        alone: bool = True,
    ) -> Fetched:
        """A block from the disk, or else from `fetch`, and then on the disk if there is room.

        Never fails because of the disk.

        Args:
            dataset: the digest of its manifest.
            number: of the block in it.
            fetch: gets it from the store.
            fits: whether these are the bytes that the block must have.
            alone: one process at a time; others wait for it.
        """
        path = self._folder / _SETS / dataset / f"{number:08x}"
        self._touch(path.parent)
        found = _read(path, fits)
        if found is not None:
            return found
        lock = zlib.crc32(f"{dataset} {number}".encode()) % _LOCK_FILES
        with ExitStack() as stack:
            if alone:
                with suppress(OSError):
                    stack.enter_context(_locked(self._folder / _LOCKS / f"{lock:03x}"))
            found = _read(path, fits)  # another process may have fetched it meanwhile
            if found is None:
                found = fetch()
                with suppress(OSError):  # a full disk, for one, is no reason to stop
                    return self._keep(path, found.data) or found
        return found

    def _keep(self, path: Path, data: pa.Buffer) -> Fetched | None:
        """Put a block on the disk, if there is room; it is there then instead of in this process's memory."""
        dataset = path.parent.name
        with self._room() as sizes:
            if path.exists():  # whoever was asked for the same meanwhile was faster
                return None
            self._make_room(sizes, dataset, data.size)
            if sum(sizes.values()) + data.size > self.limit_bytes:
                return None
            sizes[dataset] = sizes.get(dataset, 0) + data.size
        path.parent.mkdir(exist_ok=True)
        unfinished = path.with_name(f"{path.name}#{os.getpid()}-{get_ident()}")
        try:
            with unfinished.open("wb") as file:
                file.write(data)
            kept = _mapped(unfinished)
            unfinished.replace(path)
            return kept
        finally:
            unfinished.unlink(missing_ok=True)

    def _make_room(self, sizes: dict[str, int], dataset: str, size: int) -> None:
        """Remove other data sets that nobody reads, the one used longest ago first, until `size` fits."""
        used = {}
        for name in sizes:
            with suppress(OSError):
                used[name] = (self._folder / _SETS / name).stat().st_mtime
        idle = [n for n, when in used.items() if n != dataset and when < time.time() - _IN_USE_SECONDS]
        for name in sorted(idle, key=lambda name: used[name]):
            if sum(sizes.values()) + size <= self.limit_bytes:
                return
            shutil.rmtree(self._folder / _SETS / name, ignore_errors=True)
            del sizes[name]

    @contextmanager
    def _room(self) -> Iterator[dict[str, int]]:
        """Bytes kept of each data set, for the only one who changes them at the moment."""
        path = self._folder / _SIZES
        with _locked(self._folder / _LOCKS / "room"):
            try:
                sizes: dict[str, int] = json.loads(path.read_text())
            except (OSError, ValueError):
                sizes = {}
            yield sizes
            path.write_text(json.dumps(sizes))

    def _touch(self, folder: Path) -> None:
        """Note now and then that a data set is being read."""
        now = time.monotonic()
        if now - self._used.get(folder.name, -_USED_EVERY_SECONDS) >= _USED_EVERY_SECONDS:
            self._used[folder.name] = now
            with suppress(OSError):
                os.utime(folder)


def _read(path: Path, fits: Callable[[pa.Buffer], bool]) -> Fetched | None:
    """A file's bytes; None if it is not there or not what it should be, and then it is removed."""
    try:
        found = _mapped(path)
    except (OSError, pa.ArrowInvalid):
        return None
    if found is not None and fits(found.data):
        return found
    with suppress(OSError):
        path.unlink()
    return None


def _mapped(path: Path) -> Fetched:
    """A file of the cache."""
    file = MappedFile(path)
    return Fetched(data=file.range(0, file.data.size), mapped=True)


def _size(folder: Path) -> int:
    total = 0
    with suppress(OSError):  # files come and go
        for entry in os.scandir(folder):
            with suppress(OSError):
                total += entry.stat().st_size
    return total


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Alone among all processes, and threads, that lock the same file."""
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
