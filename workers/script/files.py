"""What a rank writes, in files: one for each stream, each of them bounded."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType

#: A file that has grown to this is put aside as `.1`, and the one that was there before is dropped.
FILE_BYTES_MAX = 64 * 1024**2


class StreamFile:
    """Takes the bytes of a stream. A full disk is no reason to end the program: writing then stops.

    Args:
        path: the file; made with its folder, appended to.
        bytes_max: see `FILE_BYTES_MAX`.
    """

    def __init__(self, path: Path, bytes_max: int = FILE_BYTES_MAX) -> None:
        self._path, self._bytes_max = path, bytes_max
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("ab", buffering=0)
        self._size = self._file.tell()
        self._full = False

    def write(self, data: bytes) -> None:
        """Append."""
        if self._full:
            return
        try:
            if self._size + len(data) > self._bytes_max:
                self._put_aside()
            self._file.write(data)
            self._size += len(data)
        except OSError:
            self._full = True

    def close(self) -> None:
        """Nothing is written after this."""
        self._file.close()

    def __enter__(self) -> StreamFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _put_aside(self) -> None:
        self._file.close()
        self._path.replace(self._path.with_name(f"{self._path.name}.1"))
        self._file = self._path.open("ab", buffering=0)
        self._size = 0
