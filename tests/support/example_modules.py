"""Imports a module of an example as its own scripts would: with the example's folder first on the path."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def example_module(example: str, module: str) -> ModuleType:
    """`examples/<example>/<module>.py`. Names that examples share (`recipe`, `prepare`) do not collide."""
    folder = EXAMPLES / example
    names = {path.stem for path in folder.glob("*.py")}
    before = {name: sys.modules.pop(name) for name in names & sys.modules.keys()}
    sys.path.insert(0, str(folder))
    try:
        return importlib.import_module(module)
    finally:
        sys.path.remove(str(folder))
        for name in names:
            sys.modules.pop(name, None)
        sys.modules.update(before)
