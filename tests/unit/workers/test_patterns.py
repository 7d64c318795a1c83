from __future__ import annotations

import pytest

from workers.patterns import chosen, nearest

NAMES = ("encoder.weight", "encoder.bias", "head.weight", "model/head.weight")


def test_patterns_choose_names_and_those_that_choose_none_are_told_in_order() -> None:
    assert chosen(["enc*", "*.bias", "x*", "head.weigh?", "a"], NAMES) == (
        {"encoder.weight", "encoder.bias", "head.weight"},
        ["x*", "a"],
    )
    assert chosen([], NAMES) == (set(), [])
    assert chosen(["*"], ()) == (set(), ["*"])


def test_case_counts_on_every_machine() -> None:
    assert chosen(["Head.*"], NAMES) == (set(), ["Head.*"])


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ("encodr.weight", "encoder.weight"),
        ("haed.*", "head.weight"),
        ("ecnoder.*", "encoder.bias"),
        ("model/encoder.weight", "encoder.weight"),
        ("model/haed.*", "head.weight"),
        ("zebra", None),
        ("*zebra", None),
        ("model/zebra", None),
    ],
)
def test_the_nearest_name_begins_like_what_was_asked_for(wanted, found) -> None:
    assert nearest(wanted, NAMES) == (f"; the nearest is {found}" if found else "")
