"""Files mapped into memory: their bytes are not copied, and all processes that read them share them.

A mapped byte that cannot be read ends the process with a signal. So whatever is handed out was read before,
in one call that returns errors; it may be read again later if the system is short of memory.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import time
from functools import cache
from pathlib import Path
from threading import Lock
from weakref import WeakValueDictionary

import pyarrow as pa

_POPULATE_READ = 22  # Linux's mman.h; see madvise(2)
_LOOK_AGAIN_SECONDS = 0.01


class MappedFile:
    """A file, mapped whole. It keeps no descriptor open, and is there for as long as what is read from it.

    Args:
        path: of a file that is not empty.

    Raises:
        OSError: it cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._version = _version(path)  # before it is mapped: at worst it is taken for an earlier one
        self._looked = time.monotonic()
        with pa.memory_map(str(path)) as file:
            begin = file.read_buffer(1)  # more would be read from the disk here and now
            self.data = pa.foreign_buffer(begin.address, file.size(), begin)

    def range(self, start: int, length: int) -> pa.Buffer:
        """Bytes `[start, start + length)`, or as many of them as there are, read from the disk if need be.

        Raises:
            OSError: the disk does not give them.
        """
        length = max(0, min(length, self.data.size - start))
        if not length:
            return pa.py_buffer(b"")
        found = self.data.slice(start, length)
        if can_map():
            _populate(found.address, length)
        return found

    @property
    def is_current(self) -> bool:
        """Whether the file is still the one that was mapped, unchanged; found out within 10 ms."""
        now = time.monotonic()
        if now - self._looked > _LOOK_AGAIN_SECONDS and self._version:
            self._looked = now
            try:
                if _version(self._path) != self._version:
                    self._version = ()
            except OSError:
                self._version = ()
        return bool(self._version)


class MappedFiles:
    """Files that are mapped once, while anybody holds one. Safe to share between threads."""

    def __init__(self) -> None:
        self._open: WeakValueDictionary[Path, MappedFile] = WeakValueDictionary()
        self._lock = Lock()

    def get(self, path: Path) -> MappedFile:
        """A file as it is now.

        Raises:
            OSError: it cannot be opened.
        """
        with self._lock:
            found = self._open.get(path)
            if found is None or not found.is_current:
                found = self._open[path] = MappedFile(path)
            return found


@cache
def can_map() -> bool:
    """Whether this system can read a mapped range and return errors: Linux from 5.14 on."""
    try:
        with mmap.mmap(-1, mmap.PAGESIZE) as page:
            _populate(ctypes.addressof(ctypes.c_char.from_buffer(page)), mmap.PAGESIZE)
    except (OSError, BufferError):
        return False
    return True


def _populate(address: int, length: int) -> None:
    """Have pages read, all at once, and mapped. Other threads run meanwhile."""
    begin = address // mmap.PAGESIZE * mmap.PAGESIZE
    if _libc().madvise(begin, address + length - begin, _POPULATE_READ):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


@cache
def _libc() -> ctypes.CDLL:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    return libc


def _version(path: Path) -> tuple[int, ...]:
    stat = path.stat()
    return stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns
