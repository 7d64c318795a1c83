"""Jobs around `recipes_again.py`, trained by plain processes, to be looked at and proven afterwards."""

from __future__ import annotations

import json
import shutil
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from orchestrator.prepare import resolve
from orchestrator.spec import load_job
from tests.support.datasets import number_set
from workers.data.order import OrderSettings
from workers.data.samples import EpochSamples
from workers.processes import launch
from workers.protocol import TrainJob

RECIPE = Path(__file__).with_name("recipes_again.py")
V, MICRO, ROWS, SEED = 8, 2, 2400, 3  # 150 steps an epoch


@dataclass(frozen=True, kw_only=True)
class AgainJob:
    """A folder with a recipe, a job file and, once trained, checkpoints."""

    folder: Path

    @property
    def file(self) -> Path:
        return self.folder / "job.yaml"

    @property
    def recipe(self) -> Path:
        return self.folder / "recipe.py"

    @property
    def checkpoints(self) -> Path:
        return self.folder / "runs" / "again"

    def resolved(self, *overrides: str) -> TrainJob:
        return resolve(load_job(self.file, overrides), self.file)

    def train(self, workers: int) -> AgainJob:
        """By so many plain processes, to the end."""
        deque(launch(self.resolved(), workers), maxlen=0)
        return self

    def copy(self, folder: Path) -> AgainJob:
        """With all that it has saved, reading the same data."""
        shutil.copytree(self.folder, folder)
        return AgainJob(folder=folder)


def again_job(folder: Path, data: str, *, steps: int, every: int, **params: Any) -> AgainJob:
    """Write a recipe and a job file."""
    folder.mkdir(parents=True)
    shutil.copy(RECIPE, folder / "recipe.py")
    spec = {
        "name": "again",
        "recipe": "recipe:Again",
        "params": params,
        "seed": SEED,
        "data": {"train": {"uri": data}},
        "batch": {"size": V * MICRO, "virtual_ranks": V, "max_grad_norm": 1.0},
        "stop": {"steps": steps},
        "checkpoint": {"uri": "runs", "every": every, "keep": 100, "if_busy": "wait"},
    }
    job = AgainJob(folder=folder)
    job.file.write_text(json.dumps(spec, indent=1))
    return job


def numbers_in(folder: Path) -> str:
    """A data set of `ROWS` numbers, sample n of which is n; its URI."""
    return number_set(folder, ROWS, block_bytes=4000, shard_bytes=40_000).store.uri


def numbers_at(data: str, step: int, vrank: int) -> list[int]:
    """The samples of a micro-batch, of a step that is counted from 1."""
    from workers.data.dataset import Dataset

    rows = Dataset.open(data).manifest.block_rows
    samples = EpochSamples(rows, OrderSettings(seed=SEED, window_blocks=None), V)
    found = samples.find(0, vrank, (step - 1) * MICRO, step * MICRO)
    return np.asarray(found.draws).tolist()
