"""What jobs wrote to their output, in a file for each: whoever reads on from an offset misses nothing.

Beside each file is an index: how long it was when a supervisor's history was known so far. A server that
comes back reads on from what is in the database, so it cuts the file back to there, and hears those lines
again.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from orchestrator.records.steplog import LogEntry
from orchestrator.service.executor import Heard

#: A job's log grows no further; all of its output is on the nodes that it ran on, as long as it runs.
FILE_BYTES_MAX = 256 * 1024**2
_FULL = b"(the log is full: later lines are left out)\n"


class JobLogs:
    """See `orchestrator.api.config.Logs`.

    Args:
        folder: for the files; made when missing.
        bytes_max: see `FILE_BYTES_MAX`.
    """

    def __init__(self, folder: Path, bytes_max: int = FILE_BYTES_MAX) -> None:
        self._folder, self._bytes_max, self._lock = folder, bytes_max, threading.Lock()

    def read(self, job: str, after: int, limit: int) -> bytes:
        """See `Logs.read`."""
        try:
            with (self._folder / f"{job}.log").open("rb") as file:
                file.seek(after)
                return file.read(limit)
        except (FileNotFoundError, NotADirectoryError):
            return b""

    def append(self, job: str, lines: Sequence[LogEntry], heard: Heard) -> None:
        """More of a job's output, and how far its supervisor's history is known with it. A full disk is no
        reason to stop anything else."""
        if not lines:
            return
        text = "".join(f"[{line.worker}] {line.text}\n" for line in lines).encode(errors="replace")
        with self._lock, suppress(OSError):
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with (self._folder / f"{job}.log").open("ab") as file:
                if file.tell() >= self._bytes_max:
                    return
                full = file.tell() + len(text) >= self._bytes_max
                file.write(text + (_FULL if full else b""))
                length = file.tell()
            with (self._folder / f"{job}.index").open("a") as index:
                index.write(json.dumps([heard.incarnation, heard.position, length]) + "\n")

    def rewind(self, job: str, heard: Heard) -> None:
        """Forget what a supervisor told after this: it tells it again."""
        with self._lock, suppress(OSError):
            lines = (self._folder / f"{job}.index").read_text().splitlines()
            length = kept = 0
            for known in map(_entry, lines):
                if known is None or (known[0] == heard.incarnation and known[1] > heard.position):
                    break
                kept, length = kept + 1, known[2]
            with (self._folder / f"{job}.log").open("r+b") as file:
                file.truncate(length)
            (self._folder / f"{job}.index").write_text("".join(f"{line}\n" for line in lines[:kept]))


def _entry(line: str) -> tuple[str, int, int] | None:
    """A line of an index; None for one that was not written to its end."""
    try:
        incarnation, position, length = json.loads(line)
    except ValueError:
        return None
    return incarnation, position, length
