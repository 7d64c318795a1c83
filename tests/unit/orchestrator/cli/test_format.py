from __future__ import annotations

import pytest

from orchestrator.cli import format as fmt


@pytest.mark.parametrize(
    ("given", "shown"), [(0.4, "0 s"), (59.6, "1:00 min"), (185, "3:05 min"), (7385, "2:03:05 h")]
)
def test_durations(given: float, shown: str) -> None:
    assert fmt.duration(given) == shown


@pytest.mark.parametrize(
    ("given", "shown"),
    [(0.416, "0.42"), (9.999, "10.0"), (18.84, "18.8"), (99.97, "100"), (1204.4, "1,204")],
)
def test_rates(given: float, shown: str) -> None:
    assert fmt.rate(given) == shown


@pytest.mark.parametrize(
    ("given", "shown"), [(0, "0 B"), (999, "999 B"), (1000, "1 KB"), (411_900_000, "412 MB")]
)
def test_sizes(given: int, shown: str) -> None:
    assert fmt.size(given) == shown


@pytest.mark.parametrize(
    ("given", "shown"), [((), "-"), ((3,), "3"), ((2, 0, 1), "0-2"), ((0, 1, 2, 5, 7, 8), "0-2,5,7-8")]
)
def test_ranks(given: tuple[int, ...], shown: str) -> None:
    assert fmt.ranks(given) == shown


def test_plurals() -> None:
    assert [fmt.plural(n, "step") for n in (0, 1, 1200)] == ["0 steps", "1 step", "1,200 steps"]
