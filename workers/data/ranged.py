"""A stored object as a file that can be read anywhere: for libraries that parse files."""

from __future__ import annotations

import io
from collections.abc import Callable

Read = Callable[[int, int], bytes]  # offset, length (at least 1) → bytes

_WINDOW_MIN, _WINDOW_MAX = 4 << 10, 1 << 20


class SeekableFile(io.RawIOBase):
    """A file whose bytes come from `_range`, wherever that has them from.

    Args:
        size: of the file, bytes.
    """

    def __init__(self, size: int) -> None:
        self._size, self._position = size, 0

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def tell(self) -> int:
        """Where the next read begins."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """See `io.RawIOBase.seek`."""
        origin = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = max(0, origin + offset)
        return self._position

    def read(self, size: int | None = -1) -> bytes:
        """Up to `size` bytes from the position on; fewer only at the end."""
        left = max(0, self._size - self._position)
        wanted = left if size is None or size < 0 else min(size, left)
        data = self._range(self._position, wanted) if wanted else b""
        self._position += wanted
        return data

    def readinto(self, buffer: object) -> int:
        """See `io.RawIOBase.readinto`."""
        view = memoryview(buffer).cast("B")  # type: ignore[arg-type]
        data = self.read(len(view))
        view[: len(data)] = data
        return len(data)

    def _range(self, begin: int, length: int) -> bytes:
        """Bytes `[begin, begin + length)`, at least one, all within the file."""
        raise NotImplementedError


class RangedFile(SeekableFile):
    """Reads ranges as they are asked for, and a window beyond.

    Whoever reads on where a window ended gets a larger one next, up to 1 MiB; whoever jumps, a smaller one.
    So headers that lie close together are read together, and large bodies between them not at all.

    Args:
        read: reads a range of the object.
        size: of the object, bytes.
    """

    def __init__(self, read: Read, size: int) -> None:
        super().__init__(size)
        self._read = read
        self._window, self._begin, self._data = _WINDOW_MIN, 0, b""

    def _range(self, begin: int, length: int) -> bytes:
        end = self._begin + len(self._data)
        if not self._begin <= begin <= begin + length <= end:
            self._fetch(begin, length, goes_on=self._begin <= begin <= end + self._window)
        start = begin - self._begin
        return self._data[start : start + length]

    def _fetch(self, begin: int, wanted: int, *, goes_on: bool) -> None:
        window = min(2 * self._window, _WINDOW_MAX) if goes_on else max(self._window // 2, _WINDOW_MIN)
        length = min(max(wanted, window), self._size - begin)
        self._window, self._begin = window, begin
        self._data = self._read(begin, length)
        if len(self._data) != length:
            raise OSError(f"{len(self._data)} bytes at {begin} instead of {length}")
