"""Runs the real `lockstep` command as users do, and reads what it leaves behind."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import psutil

RUN_SECONDS_MAX = 200
LOOK_EVERY_SECONDS = 0.01
LOCKSTEP = str(Path(sys.executable).with_name("lockstep"))
PREFIX: tuple[str, ...] = ()  # of every command: for those that run on another host
K = TypeVar("K")
T = TypeVar("T")
MARK = "LOCKSTEP_TEST_MARK"  # in the environment of every process that a command starts


@dataclass(frozen=True, kw_only=True)
class Result:
    """How a command ended."""

    code: int
    out: str
    err: str
    log: list[dict[str, Any]] = field(default_factory=list)

    @property
    def json(self) -> dict[str, Any]:
        """The object that `--json` ends with."""
        return json.loads(self.out.splitlines()[-1])

    @property
    def steps(self) -> dict[int, tuple[int, int, float, dict[str, float]]]:
        """What the log says of each step: epoch, samples, loss, values."""
        return steps_of(self.log)

    def events(self, kind: str) -> list[dict[str, Any]]:
        """Entries of one kind, in order."""
        return [entry for entry in self.log if entry["kind"] == kind]


@dataclass(frozen=True, kw_only=True)
class Running:
    """A command that runs."""

    process: subprocess.Popen[str]
    mark: str
    log: Path
    output: Path
    environment: Mapping[str, str] = field(default_factory=dict)

    def command(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        """Another command that is about this run, to its end."""
        command = [*PREFIX, LOCKSTEP, *map(str, arguments)]
        return subprocess.run(command, env=dict(self.environment), capture_output=True, text=True, timeout=60)

    def named(self, name: str) -> list[psutil.Process]:
        """Living processes of this run's own cluster that Ray calls so: `JobActor`, `WorkerActor`."""
        return [p for p in processes(self.mark) if any(name in part for part in _command_line(p))]

    def wait_for(self, condition: Callable[[list[dict[str, Any]]], bool], what: str) -> list[dict[str, Any]]:
        """The log as soon as it fulfils a condition."""

        def look() -> list[dict[str, Any]] | None:
            entries = read_log(self.log)
            return entries if condition(entries) else None

        return until(look, what, self)

    def result(self) -> Result:
        """Wait for the end."""
        self.process.wait(RUN_SECONDS_MAX)
        out, err = (self.output.with_suffix(suffix).read_text() for suffix in (".out", ".err"))
        return Result(code=self.process.returncode, out=out, err=err, log=read_log(self.log))

    def kill_everything(self) -> None:
        """SIGKILL to the command and to every process that came of it."""
        while marked := processes(self.mark):
            for process in marked:
                with _may_be_gone():
                    process.kill()
            psutil.wait_procs(marked, timeout=10)
        self.process.wait()


@dataclass(frozen=True, kw_only=True)
class Lockstep:
    """The command line, with a folder for its output and an environment.

    Args:
        folder: for logs and outputs.
        environment: added to this process's own.
        cluster: the options that say where to run.
    """

    folder: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    cluster: tuple[str, ...] = ()

    def with_environment(self, environment: Mapping[str, str]) -> Lockstep:
        """The same, with more in its environment."""
        return Lockstep(
            folder=self.folder, environment={**self.environment, **environment}, cluster=self.cluster
        )

    def __call__(self, *arguments: object) -> Result:
        """Any command, to its end."""
        return self.start(*arguments).result()

    def run(self, job: object, *options: object) -> Result:
        """`lockstep run`, to its end."""
        with self.running(job, *options) as running:
            return running.result()

    def run_each(self, runs: Mapping[K, tuple[object, ...]]) -> dict[K, Result]:
        """`lockstep run` for each job file with its options, two at a time: much of a run is waiting."""
        with ThreadPoolExecutor(2) as pool:
            results = pool.map(lambda arguments: self.run(*arguments), runs.values())
            return dict(zip(runs, results, strict=True))

    @contextmanager
    def running(self, job: object, *options: object) -> Iterator[Running]:
        """`lockstep run`; whatever is left of it in the end is killed."""
        log = self.folder / f"{uuid.uuid4().hex}.jsonl"
        common = ["--log", log, "--json", *self.cluster]
        if "--metrics" not in options:
            common += ["--metrics", "127.0.0.1:0"]
        running = self.start("run", job, *common, *options, log=log)
        try:
            yield running
        finally:
            if running.process.poll() is None:
                running.kill_everything()

    def start(self, *arguments: object, log: Path | None = None) -> Running:
        """Any command."""
        mark = uuid.uuid4().hex
        output = self.folder / mark
        command = [*PREFIX, LOCKSTEP, *map(str, arguments)]
        # A name space of its own, so that jobs of the same name can run beside each other on one cluster.
        environment = {"LOCKSTEP_NAMESPACE": mark, **os.environ, **self.environment, MARK: mark}
        with output.with_suffix(".out").open("w") as out, output.with_suffix(".err").open("w") as err:
            process = subprocess.Popen(
                command, env=environment, stdout=out, stderr=err, text=True, start_new_session=True
            )
        log = log or output.with_suffix(".jsonl")
        return Running(process=process, mark=mark, log=log, output=output, environment=environment)


def until(look: Callable[[], T | None], what: str, running: Running) -> T:
    """What `look` returns as soon as it is something; fails when the command ends or time runs out first."""
    deadline = time.monotonic() + RUN_SECONDS_MAX
    while True:
        over = running.process.poll() is not None or time.monotonic() > deadline
        found = look()
        if found is not None:
            return found
        if over:
            raise AssertionError(
                f"waited in vain for {what}:\n{running.output.with_suffix('.err').read_text()}"
            )
        time.sleep(LOOK_EVERY_SECONDS)


def processes(mark: str) -> list[psutil.Process]:
    """All living processes whose environment has the mark."""
    found = []
    for process in psutil.process_iter():
        with _may_be_gone():
            if process.environ().get(MARK) == mark and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def _command_line(process: psutil.Process) -> list[str]:
    with _may_be_gone():
        return process.cmdline()
    return []


def pids_of(log: list[dict[str, Any]]) -> dict[str, int]:
    """The processes of all workers that a log tells of, by their names."""
    ready = (entry for entry in log if entry["kind"] == "ready")
    return {entry["worker"]: int(re.findall(r"process (\d+)", entry["reason"])[0]) for entry in ready}


def read_log(path: Path) -> list[dict[str, Any]]:
    """The whole lines of a log that may still be written."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]


def steps_of(log: list[dict[str, Any]]) -> dict[int, tuple[int, int, float, dict[str, float]]]:
    """What a log says of each step: epoch, samples, loss, values."""
    steps = (entry for entry in log if entry["kind"] == "step")
    return {step["step"]: (step["epoch"], step["samples"], step["loss"], step["values"]) for step in steps}


@contextmanager
def _may_be_gone() -> Iterator[None]:
    try:
        yield
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return
