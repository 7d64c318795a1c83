"""Jobs around the recipe of `recipes_bits.py`: small, with everything in them that can spoil bits."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tests.support.checkpoints import objects
from workers.data.index import index

RECIPE = Path(__file__).with_name("recipes_bits.py")
TRAIN_ROWS, EVAL_ROWS, CLASSES, VALUES = 201, 90, 4, 16


@dataclass(frozen=True, kw_only=True)
class BitsJob:
    """A folder with a recipe, data and a job file, which is JSON: that is YAML too."""

    folder: Path

    @property
    def file(self) -> Path:
        return self.folder / "job.yaml"

    @property
    def recipe(self) -> Path:
        return self.folder / "recipe.py"

    @property
    def checkpoints(self) -> Path:
        """Where its checkpoints are."""
        return self.folder / "runs" / "bits"

    def committed(self) -> dict[str, bytes]:
        """Manifests and chunks of its checkpoints, by name."""
        files = objects(self.checkpoints)
        return {name: data for name, data in files.items() if name.startswith(("manifests/", "chunks/"))}

    def change(self, **sections: Any) -> None:
        """Replace whole sections of the job file."""
        spec = json.loads(self.file.read_text())
        self.file.write_text(json.dumps({**spec, **sections}, indent=1))

    def copy(self, folder: Path) -> BitsJob:
        """The same in a new folder, without the checkpoints, reading the same data."""
        folder.mkdir(parents=True)
        for path in (self.file, self.recipe):
            shutil.copy(path, folder)
        return BitsJob(folder=folder)


#: 6 steps an epoch. In the last one, one virtual rank of the 8 has one sample, and the others have none.
SECTIONS: dict[str, Any] = {
    "name": "bits",
    "recipe": "recipe:Bits",
    "seed": 5,
    "batch": {"size": 40, "virtual_ranks": 8, "max_grad_norm": 0.9},
    "stop": {"steps": 18},
    "workers": {"min": 1, "max": 8, "cpus": 1},
    "checkpoint": {"uri": "runs", "every": 5, "if_busy": "wait"},
    "evaluate": {"every": 10},
}
STEPS_PER_EPOCH = 6


def bits_job(folder: Path) -> BitsJob:
    """Write data, recipe and job file into a folder."""
    rng = np.random.default_rng(11)
    centres = rng.standard_normal((CLASSES, VALUES))
    for part, rows in (("train", TRAIN_ROWS), ("eval", EVAL_ROWS)):
        (folder / part).mkdir(parents=True)
        for row in range(rows):
            label = int(rng.integers(CLASSES))
            values = (centres[label] + rng.standard_normal(VALUES)).astype("<f4")
            (folder / part / f"{row:04d}-{label}").write_bytes(values.tobytes())
        index((folder / part).as_uri())
    shutil.copy(RECIPE, folder / "recipe.py")
    job = BitsJob(folder=folder)
    job.file.write_text("{}")
    data = {part: {"uri": str(folder / part)} for part in ("train", "eval")}
    job.change(**SECTIONS, data=data)
    return job
