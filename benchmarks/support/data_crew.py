"""The processes of one side, told what to do all at once, and what it costs them."""

from __future__ import annotations

import json
import os
import selectors
import socket
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from support.data_sides import side

from workers.protocol import ENVIRONMENT

RANK = Path(__file__).with_name("data_rank.py")
PATH = os.pathsep.join(
    str(folder) for folder in Path(__file__).parents[1:3]
)  # this folder's, and the project's
PATIENCE_SECONDS = 30


class SideFailed(Exception):
    """One of its processes reported an error, ended, or took too long."""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Of an epoch.

    Attributes:
        seconds: from the word "go" to the last process's last batch.
        cpu_seconds: of all processes of the side.
    """

    samples: int
    seconds: float
    cpu_seconds: float

    @property
    def rate(self) -> float:
        """Samples a second."""
        return self.samples / self.seconds

    @property
    def thrift(self) -> float:
        """Samples a CPU-second."""
        return self.samples / self.cpu_seconds


class Crew:
    """`world` processes of a side, or the one that starts the others itself. Use it in a `with`.

    They live from row to row: starting them takes longer than an epoch. All sides' environment is that of our
    workers: large pages serve whoever uses Arrow.
    """

    def __init__(self, name: str, world: int, environment: dict[str, str], log: Path) -> None:
        self.name, self.world = name, world
        count = 1 if getattr(side(name), "IN_ONE_PROCESS", False) else world
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self._log = log
        with log.open("ab") as said:
            self._ranks = [
                subprocess.Popen(
                    [sys.executable, str(RANK), name, str(rank), str(count), str(port)],
                    stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said,
                    env={**ENVIRONMENT, **os.environ, **environment, "PYTHONPATH": PATH},
                    start_new_session=True,
                )
                for rank in range(count)
            ]  # fmt: skip

    def __enter__(self) -> Crew:
        return self

    def __exit__(self, *_: object) -> None:
        everybody = self._everybody()
        for rank in self._ranks:
            with suppress(BrokenPipeError):
                rank.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            for rank in self._ranks:
                rank.wait(10)
        for process in everybody:
            with suppress(psutil.Error):
                process.kill()
        for rank in self._ranks:
            rank.wait()

    def call(self, verb: str, each: list[dict[str, Any]] | None = None, **arguments: Any) -> int:
        """Tell all processes to do something and wait until they have; the sum of their samples.

        Args:
            each: further arguments, one dict for each process.
        """
        for number, rank in enumerate(self._ranks):
            own = {**arguments, **(each[number] if each else {})}
            rank.stdin.write(json.dumps({verb: own}).encode() + b"\n")
            rank.stdin.flush()
        deadline = time.monotonic() + PATIENCE_SECONDS
        return sum(self._answer(rank, deadline) for rank in self._ranks)

    def open(self, cell: dict[str, Any]) -> None:
        """Open a data set in all processes."""
        count = len(self._ranks)
        self.call("open", each=[{"cell": {**cell, "rank": n, "world": self.world}} for n in range(count)])

    def epoch(self, number: int) -> Cost:
        """Read an epoch."""
        before, begin = self._cpu_seconds(), time.perf_counter()
        samples = self.call("epoch", number=number)
        seconds = time.perf_counter() - begin
        used = sum(after - before.get(pid, 0.0) for pid, after in self._cpu_seconds().items())
        return Cost(samples=samples, seconds=seconds, cpu_seconds=used)

    def _answer(self, rank: subprocess.Popen[bytes], deadline: float) -> int:
        with selectors.DefaultSelector() as selector:
            selector.register(rank.stdout, selectors.EVENT_READ)
            if not selector.select(max(0.0, deadline - time.monotonic())):
                raise SideFailed(f"no answer in {PATIENCE_SECONDS} s")
        line = rank.stdout.readline()
        if not line:
            raise SideFailed(f"the process ended; see {self._log}")
        answer = json.loads(line)
        if "error" in answer:
            raise SideFailed(answer["error"])
        return answer["samples"]

    def _everybody(self) -> list[psutil.Process]:
        found = []
        for rank in self._ranks:
            with suppress(psutil.Error):
                process = psutil.Process(rank.pid)
                found += [process, *process.children(recursive=True)]
        return found

    def _cpu_seconds(self) -> dict[int, float]:
        """Of each process that lives. What those that end meanwhile use is not counted, in their favour."""
        found = {}
        for process in self._everybody():
            with suppress(psutil.Error):
                found[process.pid] = sum(process.cpu_times()[:2])
        return found
