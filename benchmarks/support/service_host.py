"""A server as `lockstep serve` has it, but for Ray: API, database, sockets, and, if asked, the control loop.

    service_host.py DATABASE FOLDER [TURNS]

Prints one JSON line, `{"url", "token"}`, once it answers. With TURNS, the control loop runs beside the API,
on two nodes whose jobs never end, and appends a line to that file for each turn: seconds, and seconds of CPU.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from quiet_cluster import QuietCluster

from orchestrator.api.app import create_app
from orchestrator.api.hosting import Listening, host, listen, own_token, url_of
from orchestrator.service.controller import Controller
from orchestrator.store.database import Database
from workers.storage import Store

NODES = 2


class Timed(Controller):
    """Writes down what each turn took."""

    def __init__(self, database: Database, turns: Path) -> None:
        super().__init__(database, QuietCluster(NODES))
        self._file = turns.open("w", buffering=1)

    def turn(self) -> bool:
        begin, cpu = time.perf_counter(), time.thread_time()
        more = super().turn()
        self._file.write(f"{time.perf_counter() - begin} {time.thread_time() - cpu}\n")
        return more


def main() -> None:
    database, folder = Database(sys.argv[1]), Path(sys.argv[2])
    token = own_token(database, folder / "state", "bench", time.time())
    wake = loop(database, Path(sys.argv[3])) if len(sys.argv) > 3 else lambda: None
    app = create_app(database, wake=wake, bundles=Store((folder / "objects").as_uri()))
    where = Listening()
    listener = listen(where)

    def ready() -> None:
        print(json.dumps({"url": url_of(where, listener), "token": token}), flush=True)

    host(app, where, listener, ready)


def loop(database: Database, turns: Path) -> Callable[[], None]:
    """Start the control loop; what wakes it."""
    controller = Timed(database, turns)
    threading.Thread(target=controller.run, name="controller", daemon=True).start()
    return controller.wake


if __name__ == "__main__":
    main()
