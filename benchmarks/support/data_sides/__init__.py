"""Those that are compared, one module each: how each stores the records, and how each reads them.

A side's module has

* `store(row, source, folder)`: write the records in `source` to a folder as the side wants them;
* `settings(cell)`: what is tried for a cell, each a dict; one that suits is found by trying;
* `FRESH_PROCESSES`, if it is there and true: every measurement from S3 has new processes;
* `Loader(cell)`: opens the data set; nothing in it is timed. Its `epoch(number)` yields batches: everything
  in it is timed. `renew(number)` comes before each epoch, untimed; `close()` comes last.

No module here imports its library before it is needed: each side lives in processes of its own.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib import import_module
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

SIDES = ("lockstep", "mosaicml-streaming", "litdata", "webdataset", "ray.data")


@dataclass(frozen=True, kw_only=True)
class Cell:
    """What one process reads, and how.

    Attributes:
        row: name in `ROWS`.
        uri: `file:///folder` or `s3://bucket/prefix`, with the side's own files.
        cache: an empty folder, the same one for all processes of the side.
        rank, world: which process this is, and of how many.
        setting: one of those that the side proposes.
        objects: names of the objects at `uri`.
    """

    row: str
    uri: str
    cache: str
    rank: int
    world: int
    objects: tuple[str, ...]
    setting: dict[str, Any] = field(default_factory=dict)

    @property
    def remote(self) -> bool:
        """Whether the data set is in a bucket."""
        return self.uri.startswith("s3://")

    @property
    def path(self) -> str:
        """Of a local data set."""
        return urlsplit(self.uri).path


def side(name: str) -> ModuleType:
    """The module of a side."""
    return import_module(f"support.data_sides.{name.replace('.', '_').replace('-', '_')}")


def helpers(cell: Cell) -> list[dict[str, Any]]:
    """What torch's DataLoader is tried with: numbers of worker processes, on a machine of two cores."""
    return [{"helpers": count} for count in (2 // cell.world, 0)]


def as_list(samples: list[Any]) -> list[Any]:
    """Collates bytes: not at all."""
    return samples
