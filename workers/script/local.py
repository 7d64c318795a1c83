"""Runs the ranks of a script job on this machine, without Ray: for tests, and for one machine's own jobs."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from itertools import cycle, islice
from pathlib import Path
from queue import Empty, Full, Queue

from workers.script.protocol import Launch, Placed, Report, ScriptNews
from workers.script.runner import Runner

#: Reports that wait to be heard. A program that writes faster than anybody reads is slowed down.
_WAITING_MAX = 10_000
_AGAIN_SECONDS = 0.1


class LocalCrew:
    """The ranks of one job, as processes of this machine. They end when this process does, however it ends.

    Args:
        folder: where their programs run.
        logs: the folder for their output; None to keep none.
        gpus: the GPUs of this machine that may be used, as CUDA_VISIBLE_DEVICES names them, and
        gpus_each: how many of them one rank gets.
        nodes: what to take this machine for; ranks are shared out among these names, in order.
    """

    def __init__(
        self,
        folder: Path,
        logs: Path | None,
        *,
        gpus: Sequence[str] = (),
        gpus_each: int = 0,
        nodes: Sequence[str] = ("localhost",),
    ) -> None:
        self._folder, self._logs, self._nodes = folder, logs, nodes
        self._gpus, self._gpus_each = gpus, gpus_each
        self._runners: dict[int, list[Runner]] = {}
        self._arrived: Queue[ScriptNews] = Queue(_WAITING_MAX)
        self._closed = False

    def hire(
        self, attempt: int, ranks: int, places: Mapping[str, int] | None, avoid: Collection[str]
    ) -> None:
        """See `orchestrator.scripts.supervisor.Crew.hire`."""
        where = _shared_out(ranks, [node for node in self._nodes if node not in avoid] or self._nodes, places)
        self._runners[attempt] = [
            Runner(rank, attempt, folder=self._folder, logs=self._logs, tell=self._tell)
            for rank in range(ranks)
        ]
        self._tell(Placed(attempt=attempt))
        for rank, (runner, node) in enumerate(zip(self._runners[attempt], where, strict=True)):
            own = self._gpus[rank * self._gpus_each : (rank + 1) * self._gpus_each]
            runner.up(node=node, node_id=node, host="127.0.0.1", gpus=tuple(own))

    def launch(self, attempt: int, orders: Sequence[Launch]) -> None:
        """See `orchestrator.scripts.supervisor.Crew.launch`."""
        for runner, order in zip(self._runners[attempt], orders, strict=True):
            runner.launch(order)

    def terminate(self, attempt: int, ranks: Collection[int]) -> None:
        """See `orchestrator.scripts.supervisor.Crew.terminate`."""
        for rank in ranks:
            self._runners[attempt][rank].terminate()

    def kill(self, attempt: int, ranks: Collection[int]) -> None:
        """See `orchestrator.scripts.supervisor.Crew.kill`."""
        for rank in ranks:
            self._runners[attempt][rank].kill()

    def dismiss(self, attempt: int) -> None:
        """See `orchestrator.scripts.supervisor.Crew.dismiss`."""
        for runner in self._runners.pop(attempt, ()):
            runner.kill()

    def hear(self, timeout: float) -> list[ScriptNews]:
        """See `orchestrator.scripts.supervisor.Crew.hear`."""
        found: list[ScriptNews] = []
        try:
            found.append(self._arrived.get(timeout=timeout))
            while len(found) < _WAITING_MAX:
                found.append(self._arrived.get_nowait())
        except Empty:
            pass
        return found

    def held(self) -> dict[str, int]:
        """For how many ranks it has room on each node that somebody else has named: nobody does here."""
        return {}

    def nodes(self) -> dict[str, str]:
        """The nodes: id → name."""
        return {node: node for node in self._nodes}

    def close(self, *, clean: bool = False) -> None:
        """End all that is left. The folder is the user's own, and stays."""
        self._closed = True
        for attempt in list(self._runners):
            self.dismiss(attempt)

    def _tell(self, report: Report | Placed) -> None:
        while not self._closed:
            try:
                self._arrived.put(report, timeout=_AGAIN_SECONDS)  # type: ignore[arg-type]
                return
            except Full:
                continue


def gpus_here() -> tuple[str, ...]:
    """The GPUs of this machine that this process may use."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return tuple(part for part in visible.split(",") if part)
    try:
        return tuple(str(number) for number, _ in enumerate(os.listdir("/proc/driver/nvidia/gpus")))
    except OSError:
        return ()


def _shared_out(ranks: int, nodes: Sequence[str], places: Mapping[str, int] | None) -> list[str]:
    """A node for each rank; those of one node are neighbours."""
    if places is not None:
        return [node for node in sorted(places) for _ in range(places[node])]
    order = {node: number for number, node in enumerate(nodes)}
    return sorted(islice(cycle(nodes), ranks), key=lambda node: order[node])
