"""`lockstep top`: cluster, queues and jobs of a server, live, until `q`."""

from __future__ import annotations

import os
import select
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestrator.cli.options import AsJson, Server, print_json
from orchestrator.cli.options import server as reach_server
from workers.errors import UnreachableError

if TYPE_CHECKING:
    from orchestrator.client import Client

_LEAVE = frozenset({"q", "Q", "\x03", "\x04"})
_UP, _DOWN = ("k", "\x1b[A"), ("j", "\x1b[B")


def top(
    every: Annotated[float, typer.Option(min=0.1, help="Seconds between looks.")] = 1.0,
    server: Server = None,
    as_json: AsJson = False,
) -> None:
    """Cluster, queues and jobs of a server, live. q leaves, j and k scroll; --json prints one look."""
    with reach_server(server) as client:
        if as_json or not (sys.stdin.isatty() and sys.stdout.isatty()):
            seen = client.wire.get("/v1/summary")
            if as_json:
                print_json(seen)
            else:
                from orchestrator.cli.columns import console_for
                from orchestrator.cli.top_view import screen

                console_for().print(screen(seen, rows=len(seen["jobs"]) or 1))
            return
        _live(client, every)


def _live(client: Client, every: float) -> None:
    from rich.console import Console
    from rich.live import Live

    from orchestrator.cli.top_view import rows_for, screen

    console = Console(highlight=False)
    seen, trouble, first, due = _look(client, None)[0], "", 0, time.monotonic() + every
    with _keys() as keyboard, Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            rows = rows_for(seen, console.height)
            first = max(0, min(first, len(seen["jobs"]) - rows))
            live.update(screen(seen, rows=rows, first=first, trouble=trouble), refresh=True)
            keys = _pressed(keyboard, max(0.0, due - time.monotonic()))
            if _LEAVE.intersection(keys):
                return
            first += sum(keys.count(key) for key in _DOWN) - sum(keys.count(key) for key in _UP)
            if time.monotonic() >= due:
                seen, trouble = _look(client, seen)
                due = time.monotonic() + every


def _look(client: Client, before: dict[str, Any] | None) -> tuple[dict[str, Any], str]:
    """What is there now; while the server is away, what was seen last, and that it is."""
    try:
        return client.wire.get("/v1/summary"), ""
    except UnreachableError as error:
        if before is None:
            raise
        return before, error.what


@contextmanager
def _keys() -> Iterator[int]:
    """The keyboard's keys, one by one and unseen, as long as the block runs."""
    import termios
    import tty

    keyboard = sys.stdin.fileno()
    before = termios.tcgetattr(keyboard)
    try:
        tty.setcbreak(keyboard)
        yield keyboard
    finally:
        termios.tcsetattr(keyboard, termios.TCSADRAIN, before)


def _pressed(keyboard: int, seconds: float) -> str:
    """What is pressed first within so many seconds, and what came along with it; empty if nothing is."""
    ready, _, _ = select.select([keyboard], [], [], seconds)
    return os.read(keyboard, 1024).decode(errors="replace") if ready else ""
