"""What the ranks of script jobs write: a file for each job, as text with the rank in front of each line."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from orchestrator.records.steplog import LogEntry

#: A job's log grows no further; all of its output is on the nodes that it ran on, as long as it runs.
FILE_BYTES_MAX = 256 * 1024**2


class JobLogs:
    """The logs of a server's jobs.

    A line is written when the server hears of it. If the server dies before it has noted how far it had
    heard, the lines since then are there twice.

    Args:
        folder: where they are; made when missing.
        bytes_max: see `FILE_BYTES_MAX`.
    """

    def __init__(self, folder: Path, bytes_max: int = FILE_BYTES_MAX) -> None:
        self._folder, self._bytes_max = folder, bytes_max

    def write(self, job: str, lines: Iterable[LogEntry]) -> None:
        """Append lines of a job, named by its id. A full disk is no reason to stop anything else."""
        data = "".join(f"[{line.worker}] {line.text}\n" for line in lines).encode(errors="replace")
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with self._path(job).open("ab") as file:
                if data and file.tell() < self._bytes_max:
                    full = file.tell() + len(data) >= self._bytes_max
                    file.write(data + (b"(the log is full: later lines are left out)\n" if full else b""))
        except OSError:
            return

    def read(self, job: str, after: int, limit: int) -> bytes:
        """See `orchestrator.api.config.Logs`."""
        try:
            with self._path(job).open("rb") as file:
                file.seek(after)
                return file.read(limit)
        except FileNotFoundError:
            return b""

    def _path(self, job: str) -> Path:
        return self._folder / f"{job}.log"
