"""Where there is no room for all columns, the least important are left out; no other cell is cut off."""

from __future__ import annotations

import io

import pytest
from rich.console import Console
from rich.text import Text

from orchestrator.cli.columns import Column, Columns, console_for


def column(head, cell, **options):
    return Column(head=head, cells=[Text(cell)], **options)


COLUMNS = Columns(
    [
        column("job", "train-a"),
        column("id", "k3j5h2k4jh", spare=2),
        column("queue", "research", spare=1),
        column("state", "running", right=True),
        column("", "its workers train " * 9, rest=True),
    ]
)


@pytest.mark.parametrize(
    ("width", "heads"),
    [
        (200, ["job", "id", "queue", "state", ""]),
        (60, ["job", "id", "queue", "state", ""]),
        (59, ["job", "queue", "state", ""]),
        (48, ["job", "queue", "state", ""]),
        (47, ["job", "state", ""]),
        (3, ["job", "state", ""]),
    ],
)
def test_what_is_left_out_first(width, heads):
    assert [each.head for each in COLUMNS.fitting(width)] == heads


@pytest.mark.parametrize("width", [200, 60, 59, 48, 47, 20])
def test_cells_are_whole_and_lines_fit(width):
    file = io.StringIO()
    Console(file=file, width=width).print(COLUMNS)
    head, row = file.getvalue().splitlines()
    assert max(len(head), len(row)) <= width
    words = row.split()
    for each in COLUMNS.fitting(width)[:-1]:
        assert each.head in head.split()
        assert each.cells[0].plain in words


def test_what_goes_to_another_program_is_never_cut_off():
    file = io.StringIO()
    console_for(file).print(COLUMNS)
    assert file.getvalue().count("its workers train") == 9
