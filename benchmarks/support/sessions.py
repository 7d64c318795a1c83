"""A job that runs, whoever runs it: its log, its worker processes, and its end."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import psutil

MARK = "LOCKSTEP_BENCHMARK_MARK"  # in the environment of every process that a session starts
PATIENCE_SECONDS = 120
STOP_SECONDS = 20
LOOK_EVERY_SECONDS = 0.005

Entry = dict[str, Any]
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Side:
    """One of those compared.

    Attributes:
        command: a folder for what it leaves behind, and the log's path → what to run.
        environment: added to this process's own.
        regrouped: whether an entry of the log says that workers have come together anew.
        joined: whether an entry says that its worker is part of the training.
        rested: whether it has made itself ready for the next blow.
    """

    name: str
    command: Callable[[Path, Path], list[str]]
    environment: dict[str, str]
    regrouped: Callable[[Entry], bool]
    joined: Callable[[Entry], bool]
    rested: Callable[[list[Entry]], bool] = lambda entries: True


class Session:
    """A running job. Use it in a `with`; whatever is left of it in the end is killed."""

    def __init__(self, side: Side, folder: Path) -> None:
        self.side, self.entries = side, list[Entry]()
        self._mark = uuid.uuid4().hex
        self._log, self._said = folder / "log.jsonl", folder / "said.txt"
        self._offset = 0
        environment = {**os.environ, **side.environment, MARK: self._mark}
        with self._said.open("w") as said:
            self._process = subprocess.Popen(
                side.command(folder, self._log),
                env=environment,
                stdout=said,
                stderr=said,
                start_new_session=True,
            )

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        """First as a user would end it."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(STOP_SECONDS)
        while left := self._marked():
            for process in left:
                with suppress(psutil.Error):
                    process.kill()
            psutil.wait_procs(left, timeout=10)
        self._process.wait()

    def steps(self) -> list[tuple[int, float]]:
        """Number and time of each step that was done, in order; a step that was done again comes again."""
        return [(entry["step"], entry["time"]) for entry in self.entries if entry["kind"] == "step"]

    def members(self) -> list[tuple[str, int]]:
        """Names and processes of the workers that live, by rank."""
        ready = [(e["worker"], _pid(e)) for e in self.entries if e["kind"] == "ready"]
        return sorted((member for member in ready if _lives(member[1])), key=_rank)

    def wait(self, look: Callable[[], T | None], what: str) -> T:
        """What `look` finds in the entries so far, as soon as it is something.

        Raises:
            SystemExit: the command ended, or was too slow.
        """
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            self._read()
            found = look()
            if found is not None:
                return found
            if self._process.poll() is not None or time.monotonic() > deadline:
                tail = self._said.read_text()[-3000:]
                raise SystemExit(f"{self.side.name}: waited in vain for {what}\n{tail}")
            time.sleep(LOOK_EVERY_SECONDS)

    def rest(self) -> None:
        """See `Side.rested`."""
        self.wait(lambda: self.side.rested(self.entries) or None, "some rest")

    def _read(self) -> None:
        if not self._log.exists():
            return
        with self._log.open("rb") as file:
            file.seek(self._offset)
            new = file.read()
        whole = new[: new.rfind(b"\n") + 1]
        self._offset += len(whole)
        self.entries += map(json.loads, whole.splitlines())

    def _marked(self) -> list[psutil.Process]:
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if process.environ().get(MARK) == self._mark and _lives(process.pid):
                    found.append(process)
        return found


def _pid(entry: Entry) -> int:
    """A worker's process: our log says it in words."""
    return entry["pid"] if "pid" in entry else int(re.findall(r"process (\d+)", entry["reason"])[0])


def _rank(member: tuple[str, int]) -> int:
    """Sorts like the ranks: replacements have higher numbers and come last; a peer's name is `rank/pid`."""
    return int(re.findall(r"\d+", member[0])[0])


def _lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
