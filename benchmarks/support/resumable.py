"""What both peers train, and what they leave behind: plain DDP, the state in a file, a log like ours.

The data is one batch in memory, so that a restart has nothing to read but the state.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

WINDOW = 257  # bytes, as in the demo's data
MAX_GRAD_NORM = 1.0


@dataclass(frozen=True, kw_only=True)
class Task:
    """What to train, and where to tell of it."""

    folder: str
    recipe: str
    params: dict
    batch: int
    log: str
    states: str

    @classmethod
    def of(cls, text: str) -> Task:
        """From JSON."""
        return cls(**json.loads(text))


class Training:
    """One rank of a job whose process group is there already."""

    def __init__(self, task: Task, rank: int, world: int) -> None:
        self._log = Path(task.log)
        self._tell(kind="ready", worker=f"{rank}/{os.getpid()}", pid=os.getpid())
        sys.path.insert(0, task.folder)
        module, _, cls = task.recipe.partition(":")
        self._recipe = getattr(importlib.import_module(module), cls)(**task.params)
        torch.set_num_threads(1)
        torch.manual_seed(0)
        share = task.batch // world + (rank < task.batch % world)
        self._batch: Tensor = torch.randint(0, 256, (share, WINDOW))
        self._model = DistributedDataParallel(self._recipe.build_model())
        self._optimizer = self._recipe.build_optimizer(self._model.module)
        self._schedule = self._recipe.build_schedule(self._optimizer)
        self.done = 0

    def step(self) -> None:
        """One update."""
        result = self._recipe.loss(self._model, self._batch)
        (result[0] if isinstance(result, tuple) else result).backward()
        torch.nn.utils.clip_grad_norm_(self._model.parameters(), MAX_GRAD_NORM)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        self._schedule.step()
        self.done += 1

    def save(self, path: Path) -> None:
        """The state, whole or not at all."""
        draft = path.with_suffix(".draft")
        torch.save({"step": self.done, **{name: part.state_dict() for name, part in self._parts()}}, draft)
        draft.replace(path)

    def load(self, path: Path) -> None:
        """Go on from a state."""
        state = torch.load(path)
        for name, part in self._parts():
            part.load_state_dict(state[name])
        self.done = state["step"]

    def tell_step(self) -> None:
        """The last step is done, and its state is saved."""
        self._tell(kind="step", step=self.done)

    def _parts(self):
        return (
            ("model", self._model.module),
            ("optimizer", self._optimizer),
            ("schedule", self._schedule),
        )

    def _tell(self, **entry: object) -> None:
        with self._log.open("a") as file:
            file.write(json.dumps({"time": time.time(), **entry}) + "\n")
