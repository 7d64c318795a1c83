"""Starts processes in milliseconds, where importing torch takes seconds.

They are forked from a server (`multiprocessing`'s) that has imported all that workers import and has done
nothing else: it has no threads that a fork would lose, nor an open store.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

from workers.protocol import ENVIRONMENT

_IMPORTED = ["__main__", "workers.imported"]


def start(
    target: Callable[..., None], *arguments: Any, name: str | None = None
) -> tuple[BaseProcess, Connection]:
    """A process of this name that runs `target(*arguments, connection)`, and that connection's other end.

    It has this process's environment as it is now, and the connection closes when it dies. It ends no later
    than this process does in an orderly way; killed, it has to notice from its connection.
    """
    os.environ.update(ENVIRONMENT | os.environ)  # of the server too, if this starts it
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_IMPORTED)
    ours, theirs = context.Pipe()
    everything = dict(os.environ), target, (*arguments, theirs)
    process = context.Process(target=_main, args=everything, name=name, daemon=True)
    process.start()
    theirs.close()
    return process, ours


def _main(environment: Mapping[str, str], target: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    """In the process, whose environment is the server's."""
    os.environ.clear()
    os.environ.update(environment)
    target(*arguments)
