"""A server as `lockstep serve` has it, without the control loop: API, database, sockets.

    service_host.py DATABASE FOLDER

Prints one JSON line, `{"url", "token"}`, once it answers.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from orchestrator.api.app import create_app
from orchestrator.api.hosting import Listening, host, listen, own_token, url_of
from orchestrator.store.database import Database
from workers.storage import Store


def main() -> None:
    database, folder = Database(sys.argv[1]), Path(sys.argv[2])
    token = own_token(database, folder / "state", "bench", time.time())
    app = create_app(database, wake=lambda: None, bundles=Store((folder / "objects").as_uri()))
    where = Listening()
    listener = listen(where)

    def ready() -> None:
        print(json.dumps({"url": url_of(where, listener), "token": token}), flush=True)

    host(app, where, listener, ready)


if __name__ == "__main__":
    main()
