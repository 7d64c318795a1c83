"""The Ray shell around a rank. All it does is to pass messages on."""

from __future__ import annotations

import os
import platform
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray

from workers.bundles.unpack import unpack_once
from workers.errors import LockstepError
from workers.script.folders import folder_of, job_folder, logs_folder
from workers.script.mailbox import Mailbox, Numbered
from workers.script.protocol import Launch, Recollection, Refused
from workers.script.runner import Runner

_GPUS = "CUDA_VISIBLE_DEVICES"


@dataclass(frozen=True, kw_only=True)
class Post:
    """What a rank is told at first.

    Attributes:
        folder: names the job's folder on the machine.
        ranks: how many the attempt has.
        gpus: how many of them are its own.
        sha256: of the job's folder, packed; None where its program needs none.
        bundle: Ray's reference to the archive, in a tuple, so that only who needs it fetches it.
    """

    folder: str
    rank: int
    attempt: int
    ranks: int
    gpus: int
    sha256: str | None
    bundle: tuple[Any, ...]


@ray.remote(max_restarts=0, max_task_retries=0)
class ScriptActor:
    """One rank of a script job. `poll` runs beside the orders (`max_concurrency`)."""

    def __init__(self, post: Post) -> None:
        self._box = Mailbox(post.rank, post.attempt, post.ranks)
        logs, folder = logs_folder(post.folder), job_folder(post.folder)
        self._runner = Runner(post.rank, post.attempt, folder=folder, logs=logs, tell=self._box.put)
        try:
            self._prepare(post, folder)
        except LockstepError as error:
            stamp: dict[str, Any] = {"rank": post.rank, "attempt": post.attempt, "time": time.time()}
            self._box.put(Refused(**stamp, message=str(error)))
            return
        own = os.environ.get(_GPUS, "").split(",") if post.gpus else []
        self._runner.up(
            node=platform.node(),
            node_id=ray.get_runtime_context().get_node_id(),
            host=ray.util.get_node_ip_address(),
            gpus=tuple(part for part in own if part),
        )

    def launch(self, order: Launch) -> None:
        """Start the program."""
        self._runner.launch(order)

    def terminate(self) -> None:
        """SIGTERM."""
        self._runner.terminate()

    def kill(self) -> None:
        """SIGKILL, for all that it has started."""
        self._runner.kill()

    def poll(self, acknowledged: int, timeout: float) -> list[Numbered]:
        """Reports after the acknowledged ones, after at most `timeout` seconds."""
        return self._box.read(acknowledged, timeout)

    def remember(self) -> Recollection:
        """For a supervisor that has to begin anew."""
        return self._box.remember()

    def _prepare(self, post: Post, folder: Path) -> None:
        if post.sha256 is None:
            folder.mkdir(parents=True, exist_ok=True)
        else:
            unpack_once(lambda: ray.get(post.bundle[0]), post.sha256, folder)


@ray.remote(num_cpus=0, max_retries=0)
def remove_folder(folder: str) -> None:
    """The job is over: its folder on this machine, and its logs there, are not needed any more."""
    shutil.rmtree(folder_of(folder), ignore_errors=True)
