"""The examples as their READMEs run them: data prepared by their own scripts, then `lockstep run`."""

from __future__ import annotations

import subprocess
import sys

from tests.support.example_modules import EXAMPLES
from tests.support.lockstep import Lockstep


def prepare(example: str, root: str, environment: dict[str, str]) -> None:
    """Write an example's data below `root`, a folder or an address."""
    script = EXAMPLES / example / "prepare.py"
    subprocess.run(
        [sys.executable, str(script), root],
        check=True,
        capture_output=True,
        cwd=EXAMPLES.parent,
        env=environment,
    )


def index(lockstep: Lockstep, *uris: str) -> None:
    """`lockstep data index`."""
    for uri in uris:
        result = lockstep("data", "index", uri)
        if result.code:
            raise RuntimeError(result.err)


def options(root: str, evaluation: str | None, checkpoints: object, steps: int | None = None) -> list[str]:
    """What leads an example to this data; without a held-out set, or with fewer steps, if asked for."""
    fields = {"data.train.uri": f"{root}/train", "checkpoint.uri": f"{checkpoints}"}
    if evaluation is None:
        fields |= {"data.eval": "null", "evaluate": "null"}
    else:
        fields["data.eval.uri"] = f"{root}/{evaluation}"
    if steps is not None:
        fields |= {"stop.steps": f"{steps}", "checkpoint.every": f"{steps // 2}"}
    return [word for name, value in fields.items() for word in ("--set", f"{name}={value}")]
