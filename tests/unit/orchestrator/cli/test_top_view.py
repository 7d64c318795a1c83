"""What `lockstep top` shows, on terminals of any size."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from orchestrator.cli.top_view import rows_for, screen

NONE = {"cpu_millis": 0, "gpu_millis": 0, "memory_mib": 0}


def job(i, **changes):
    return {
        "job": f"train-{i}",
        "id": f"id{i:08}",
        "queue": "default",
        "user": "ada",
        "priority": 0,
        "state": "queued",
        "workers": [],
        "min_workers": 1,
        "max_workers": 2,
        "step": 0,
        "steps": 100,
        "loss": None,
        "ended_at": None,
        "submitted_at": 0.0,
        "reason": "",
        "explain": {"sentence": "no room for it " * 9},
        **changes,
    }


def summary(nodes=2, queues=2, jobs=3):
    return {
        "time": 60.0,
        "nodes": [
            {
                "id": f"n{i}", "name": f"node-{i}", "state": "up", "zone": "a", "workers": 1,
                "capacity": {**NONE, "cpu_millis": 4000, "gpu_millis": 2000},
                "used": {**NONE, "cpu_millis": 1000, "gpu_millis": 2000},
            }
            for i in range(nodes)
        ],
        "queues": [
            {
                "id": f"queue-{i}", "weight": 1, "quota": None, "limit": {}, "user_limit": {}, "used": NONE,
                "states": {"queued": jobs} if not i else {},
            }
            for i in range(queues)
        ],
        "jobs": [job(i) for i in range(jobs)],
    }  # fmt: skip


def drawn(seen, width, height, **options):
    file = io.StringIO()
    console = Console(file=file, width=width, height=height)
    console.print(screen(seen, rows=rows_for(seen, height), **options))
    return file.getvalue().splitlines()


@pytest.mark.parametrize("width", [80, 130, 300])
@pytest.mark.parametrize("nodes", [1, 3, 30])
@pytest.mark.parametrize("queues", [1, 30])
def test_it_fits_and_fills_the_terminal(width, nodes, queues):
    lines = drawn(summary(nodes, queues, jobs=200), width, 40)
    assert len(lines) == 40
    assert max(map(len, lines)) <= width
    (shown,) = [line.split() for line in lines if line.startswith("train-0 ")]
    whole = ["train-0", "id00000000", "default", "ada", "0"] if width > 80 else ["train-0", "default"]
    assert shown[: len(whole) + 1] == [*whole, "queued"], "what there is no room for is not there at all"


def test_totals_are_in_front():
    lines = drawn(summary(), 100, 40)
    assert "3 queued" in lines[0]
    assert lines[1].endswith("4 of 4")
    assert lines[2].endswith("2 of 8")


def test_jobs_can_be_scrolled():
    lines = drawn(summary(jobs=100), 100, 30, first=50)
    assert any(line.startswith("train-50 ") for line in lines)
    assert not any(line.startswith("train-49 ") for line in lines)
    assert any(line.startswith("jobs 51-") and line.rstrip().endswith("of 100") for line in lines)


def test_that_the_server_is_away_is_said():
    assert "does not answer" in drawn(summary(), 200, 30, trouble="the server does not answer")[0]


def test_an_empty_server_is_shown_as_that():
    lines = drawn({**summary(0, 1, 0), "jobs": []}, 80, 24)
    assert "no jobs" in lines[0]
