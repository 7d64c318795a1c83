"""Tables that leave out whole columns where there is no room for all, and no letter where there is."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions
    from rich.table import Table
    from rich.text import Text

_BETWEEN = 2  # empty places
_REST = 20
_ALL = 10_000


def console_for(file: TextIO | None = None) -> Console:
    """A console as wide as its terminal; what goes to a file or to another program is never cut off."""
    from rich.console import Console

    file = file or sys.stdout
    return Console(file=file, highlight=False, width=None if file.isatty() else _ALL)


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column.

    Attributes:
        spare: who is the first to be left out: the highest; 0 never is.
        rest: gets what the others leave, and is cut off at the end; if it is long, it needs no more than a
            few words.
    """

    head: str
    cells: Sequence[Text]
    right: bool = False
    spare: int = 0
    rest: bool = False

    @property
    def width(self) -> int:
        """Places that it needs."""
        needed = max([len(self.head), *(cell.cell_len for cell in self.cells)])
        return max(1, min(_REST, needed)) if self.rest else needed


@dataclass(frozen=True)
class Columns:
    """What Rich prints as a table, of those columns that there is room for."""

    columns: Sequence[Column]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Table]:
        """See `rich.protocol`."""
        from rich.table import Table

        table = Table(box=None, pad_edge=False, header_style="dim")
        shown = self.fitting(options.max_width)
        for column in shown:
            table.add_column(
                column.head, justify="right" if column.right else "left", no_wrap=not column.rest
            )
            for cell in column.cells if column.rest else ():  # cut off, and not the column, which gives way
                cell.no_wrap, cell.overflow = True, "ellipsis"
        for row in zip(*(column.cells for column in shown), strict=True):
            table.add_row(*row)
        yield table

    def fitting(self, width: int) -> list[Column]:
        """The columns that fit into so many places, in order."""
        shown = list(self.columns)
        while sum(column.width + _BETWEEN for column in shown) - _BETWEEN > width:
            first_to_go = max(shown, key=lambda column: column.spare)
            if not first_to_go.spare:
                break
            shown.remove(first_to_go)
        return shown
