"""One process of one side of the data benchmark: does what it is told on stdin, a JSON object a line.

    python data_rank.py SIDE RANK WORLD PORT

Each command gets one answer on stdout, `{"samples": n}` or `{"error": text}`. Whatever a side prints goes to
stderr.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import traceback
from pathlib import Path
from typing import Any

from support.data_rows import ROWS
from support.data_sides import Cell, side


class Rank:
    """What the process holds."""

    def __init__(self, name: str) -> None:
        self._side = side(name)
        self._loader: Any = None

    def store(self, row: str, source: str, folder: str) -> int:
        """Write a row's records as the side wants them."""
        Path(folder).mkdir(parents=True)
        self._side.store(ROWS[row], Path(source), Path(folder))
        return ROWS[row].count

    def open(self, cell: dict[str, Any]) -> int:
        """Open a data set."""
        self._loader = self._side.Loader(Cell(**cell))
        return 0

    def renew(self, number: int) -> int:
        """Make ready for an epoch."""
        self._loader.renew(number)
        return 0

    def epoch(self, number: int) -> int:
        """Read an epoch; its samples."""
        return sum(len(batch) for batch in self._loader.epoch(number))

    def close(self) -> int:
        """Close what is open."""
        if self._loader is not None:
            self._loader.close()
        self._loader = None
        gc.collect()
        return 0


def main() -> None:
    name, rank, world, port = sys.argv[1:]
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    import torch

    torch.set_num_threads(1)  # as a worker of training has them on a machine that it shares
    if int(world) > 1:
        names = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
        os.environ |= dict(zip(names, (rank, rank, world, world, "127.0.0.1", port), strict=True))
        torch.distributed.init_process_group("gloo")
    held = Rank(name)
    for line in sys.stdin:
        [(verb, arguments)] = json.loads(line).items()
        try:
            answer: dict[str, Any] = {"samples": getattr(held, verb)(**arguments)}
        except Exception as error:
            traceback.print_exc()
            answer = {"error": f"{type(error).__name__}: {error}"[:300]}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
