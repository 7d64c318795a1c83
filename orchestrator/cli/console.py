"""Progress on stderr: a live panel on a terminal, plain lines everywhere else.

It shares the cores with the training. So it has no thread, does nothing but look at the clock until the next
refresh is due, and only then asks for the state of the job.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol, TextIO

from orchestrator.cli.panel import line, panel
from orchestrator.records.status import JobView
from orchestrator.records.steplog import Entry, EventEntry, Kind, LogEntry

if TYPE_CHECKING:
    from rich.text import Text

_LIVE_EVERY = 0.5  # seconds: a refresh costs a few milliseconds of CPU
_PLAIN_EVERY = 5.0

_MARKS = {
    Kind.QUEUED: ("·", "dim"),
    Kind.PLACED: ("·", "dim"),
    Kind.READY: ("+", "dim"),
    Kind.STANDS_BY: ("+", "dim"),
    Kind.FORMED: ("·", "dim"),
    Kind.BROKEN: ("·", "dim"),
    Kind.HOLD: ("·", "dim"),
    Kind.WISH: ("!", "cyan"),
    Kind.DISMISSED: ("-", "dim"),
    Kind.STACKS: ("✘", "red"),
    Kind.EVALUATED: ("◆", "cyan"),
    Kind.CHECKPOINT: ("✔", "green"),
    Kind.DAMAGED: ("‼", "bold red"),
    Kind.WORKER_FAILED: ("✘", "red"),
    Kind.WORKER_LOST: ("✘", "red"),
    Kind.DISAGREEMENT: ("‼", "bold red"),
    Kind.LOG: (" ", ""),
    Kind.NOTE: ("!", "yellow"),
    Kind.ENDED: ("■", "bold"),
}


class Console:
    """Shows one job while it runs.

    Args:
        view: gives the job as it is now; only called when a refresh is due.
        file: where to write; stderr if None.
        every: seconds between refreshes; if None, 0.5 on a terminal and 5 elsewhere.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        view: Callable[[], JobView],
        *,
        file: TextIO | None = None,
        every: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        file = sys.stderr if file is None else file
        live = file.isatty() and os.environ.get("TERM", "dumb") not in ("dumb", "unknown")
        self._display: _Display = _Live(file) if live else _Plain(file)
        self._view, self._clock = view, clock
        self._every = every if every is not None else _LIVE_EVERY if live else _PLAIN_EVERY
        self._due = clock() if live else clock() + self._every

    def update(self) -> None:
        """Refresh if it is time. Call this as often as you like, also when nothing happens."""
        now = self._clock()
        if now >= self._due:
            self._due = now + self._every
            self._display.show(self._view())

    def event(self, entry: Entry) -> None:
        """Show what happened as a line that stays. Steps are not told one by one, nor what the others see of
        a loss."""
        if isinstance(entry, LogEntry):
            self._display.pass_on(entry)
        elif isinstance(entry, EventEntry) and entry.kind is not Kind.BROKEN:
            self._display.tell(entry)

    def close(self) -> None:
        """Take the panel away; lines that were told stay. May be called twice."""
        self._display.close()


class _Display(Protocol):
    def show(self, view: JobView) -> None: ...
    def tell(self, entry: EventEntry) -> None: ...
    def pass_on(self, entry: LogEntry) -> None: ...
    def close(self) -> None: ...


class _Plain:
    """One line per refresh and per event, and no control codes."""

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def show(self, view: JobView) -> None:
        self._print(line(view))

    def tell(self, entry: EventEntry) -> None:
        self._print(sentence(entry))

    def pass_on(self, entry: LogEntry) -> None:
        self._print(written(entry))

    def close(self) -> None:
        self._file.flush()

    def _print(self, text: str) -> None:
        print(text, file=self._file, flush=True)


class _Live:
    """A panel at the bottom of the terminal; events scroll by above it."""

    def __init__(self, file: TextIO) -> None:
        from rich.console import Console as RichConsole
        from rich.live import Live

        console = RichConsole(file=file, highlight=False)
        # What is printed to a stdout that is no terminal is somebody's input: leave it alone.
        self._live = Live(
            console=console, auto_refresh=False, transient=True, redirect_stdout=sys.stdout.isatty()
        )
        self._live.start()

    def show(self, view: JobView) -> None:
        self._live.update(panel(view), refresh=True)

    def tell(self, entry: EventEntry) -> None:
        self._live.console.print(_styled(entry), soft_wrap=True)

    def pass_on(self, entry: LogEntry) -> None:
        self._live.console.print(written(entry), soft_wrap=True, markup=False)

    def close(self) -> None:
        self._live.stop()


def sentence(entry: EventEntry) -> str:
    """An event as one plain line: `14:05:12 ✘ step 50: w1 lost: the process died`."""
    return f"{_time(entry)} {_MARKS[entry.kind][0]} {_sentence(entry)}"


def written(entry: LogEntry) -> str:
    """A line of a rank's output, with the rank in front: `[rank-0] epoch 3`."""
    return f"[{entry.worker}] {entry.text}"


def _styled(entry: EventEntry) -> Text:
    from rich.text import Text

    mark, style = _MARKS[entry.kind]
    return Text.assemble((_time(entry), "dim"), " ", (mark, style), " ", _sentence(entry))


def _time(entry: EventEntry) -> str:
    return time.strftime("%H:%M:%S", time.localtime(entry.time))


def _sentence(entry: EventEntry) -> str:
    """Step, subject and reason: `step 50: w1 lost: the process died`."""
    step = f"step {entry.step}" if entry.step is not None else ""
    subject = entry.kind.value.removeprefix("worker_")
    if entry.kind is Kind.ENDED:
        subject = str(entry.cause)
    elif entry.worker is not None:
        subject = f"{entry.worker} {subject}"
    return ": ".join(part for part in (step, subject, entry.reason) if part)
