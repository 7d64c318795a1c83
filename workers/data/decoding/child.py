"""What runs in a decode process: it takes micro-batches one at a time, until whoever started it is gone."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from queue import SimpleQueue
from threading import Thread
from typing import Any

import pyarrow as pa

from workers.blame import describe
from workers.data.decoder import Decoder
from workers.data.decoding import wire
from workers.data.permutation import Int64
from workers.errors import RecipeError
from workers.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class Setup:
    """The first message: how to decode."""

    load: Callable[[], Recipe]
    seed: int


@dataclass(frozen=True, kw_only=True)
class Task:
    """A micro-batch to decode; see `Decoder.__call__`."""

    epoch: int
    records: pa.RecordBatch
    sample_ids: Int64


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What came of a task: a batch, or what `describe` says of an error."""

    batch: Any = None
    failure: dict[str, Any] | None = None


def main(file_descriptor: int) -> None:
    """Answer the tasks that arrive at this socket, for ever."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C in the terminal is its parent's business
    channel = socket.socket(fileno=file_descriptor)
    messages: SimpleQueue[Any] = SimpleQueue()
    Thread(target=_listen, args=(channel, messages), daemon=True).start()
    decoder: Decoder | Answer = _prepared(messages.get())
    while True:
        task = messages.get()
        answer = decoder if isinstance(decoder, Answer) else _answer(decoder, task)
        with suppress(OSError):  # that nobody is there any more is heard by whoever listens
            wire.send(channel, _packed(answer))


def _listen(channel: socket.socket, messages: SimpleQueue[Any]) -> None:
    """A thread, so that the end of the parent ends a long decode, too."""
    with suppress(EOFError, OSError):
        while True:
            messages.put(wire.receive(channel))
    os._exit(0)


def _prepared(setup: Setup) -> Decoder | Answer:
    """A recipe that does not load in this process is the answer to every task."""
    try:
        return Decoder(setup.load(), setup.seed, threads=1)
    except Exception as error:
        return Answer(failure=describe(error))


def _answer(decoder: Decoder, task: Task) -> Answer:
    try:
        return Answer(batch=decoder(task.epoch, task.records, task.sample_ids))
    except Exception as error:
        return Answer(failure=describe(error))


def _packed(answer: Answer) -> wire.Parts:
    try:
        return wire.pack(answer)
    except Exception as error:
        what = f"a batch cannot be sent by the process that made it: {error}"
        fix = "let collate return tensors, arrays and plain values, or decode in threads (processes: 0)"
        failure = describe(RecipeError(what, where="data.decode.processes", fix=fix))
        return wire.pack(Answer(failure=failure))
