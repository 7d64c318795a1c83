"""Recipes for decode processes, which import them by name: one with rich batches, and some that misbehave.

Torch is imported where it is needed alone: it takes most of the time that a process needs to start.
"""

from __future__ import annotations

import os
import signal
import time
from collections import namedtuple
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from workers import Recipe
from workers.errors import DataError

Pair = namedtuple("Pair", "left right")


class Plain(Recipe):
    """A batch is a list of (number, what was drawn for it)."""

    def decode(self, sample: dict[str, Any], rng: np.random.Generator) -> Any:
        return sample["number"], rng.random()

    def collate(self, samples: list[Any]) -> Any:
        return samples


class Rich(Recipe):
    """Samples have a `number` and a `payload`; batches hold tensors of every layout, arrays, plain values."""

    def decode(self, sample: dict[str, Any], rng: np.random.Generator) -> Any:
        image = rng.standard_normal((5, 7, 3), dtype=np.float32)
        return sample["number"], image, sample["payload"], rng.random()

    def collate(self, samples: list[Any]) -> Any:
        import torch

        numbers, images, payloads, drawn = zip(*samples, strict=True)
        stacked = torch.stack([torch.from_numpy(image) for image in images])
        return {
            "numbers": torch.tensor(numbers),
            "images": stacked,
            "channels last": stacked.permute(0, 3, 1, 2),
            "nested": Pair([stacked.bfloat16(), stacked > 0], (stacked[:, 1:4, ::2], stacked[0, 0, 0])),
            "same everywhere": stacked[:1].expand(4, -1, -1, -1),
            "empty": stacked[:, :0],
            "complex": torch.view_as_complex(stacked[..., :2].contiguous()).conj(),
            "large": torch.arange(300_000, dtype=torch.int32) + int(numbers[0]),
            "array": stacked.numpy(),
            "plain": [payloads, drawn, None, "text"],
        }


class Vectorised(Recipe):
    """Takes whole record batches."""

    def decode_batch(self, records: pa.RecordBatch) -> Any:
        import torch

        return torch.from_dlpack(records["number"]), records


class Misbehaves(Plain):
    """Does something to the process, or raises, at the sample whose number is `at`.

    Args:
        how: what it does.
        once: a file; what happens, happens only while it is not there.
    """

    how: str
    at: int
    once: str | None = None

    def decode(self, sample: dict[str, Any], rng: np.random.Generator) -> Any:
        if sample["number"] == self.at and not (self.once and Path(self.once).exists()):
            if self.once:
                Path(self.once).touch()
            getattr(self, f"_{self.how}")()
        return super().decode(sample, rng)

    def _die(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def _exit(self) -> None:
        os._exit(9)

    def _hang(self) -> None:
        time.sleep(10**6)

    def _spin(self) -> None:
        while True:
            pass

    def _raise(self) -> None:
        raise ZeroDivisionError("at the sample")

    def _refuse(self) -> None:
        raise DataError("the bytes are damaged", where="sample 3")


class Local(Plain):
    """Its batches cannot be sent."""

    def collate(self, samples: list[Any]) -> Any:
        return lambda: samples


class DoesNotLoad(Recipe):
    """Raises where it is made."""

    def __init__(self) -> None:
        raise KeyError("no such file")


class Meets(Plain):
    """Two samples wait for each other: each opens one end of a pipe, which needs both.

    Args:
        pipe: its name.
        reads, writes: the samples' numbers.
    """

    pipe: str
    reads: int
    writes: int

    def decode(self, sample: dict[str, Any], rng: np.random.Generator) -> Any:
        if sample["number"] in (self.reads, self.writes):
            with open(self.pipe, "r" if sample["number"] == self.reads else "w"):
                pass
        return super().decode(sample, rng)
