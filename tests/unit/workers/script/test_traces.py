from __future__ import annotations

import traceback

from hypothesis import given
from hypothesis import strategies as st

from workers.script.traces import exception_type, last_traceback, place, summary


def _raised(chained: bool = False) -> list[str]:
    try:
        try:
            raise KeyError("first")
        except KeyError as error:
            if chained:
                raise ValueError("no such\nlayer") from error
            raise
    except Exception:
        return traceback.format_exc().splitlines()


def test_a_traceback_is_found_among_other_lines():
    lines = ["loading", *_raised(), "", "Exception ignored in: x", "bye"]
    assert last_traceback(lines) == "\n".join(_raised()) + "\n"


def test_of_several_the_last_counts_with_what_it_was_raised_from():
    found = last_traceback([*_raised(), "retrying", *_raised(chained=True)])
    assert found is not None
    assert found.count("Traceback (most recent call last):") == 2
    assert "direct cause" in found
    assert found.endswith("ValueError: no such\nlayer\n")
    assert exception_type(found) == "ValueError"
    assert summary(found) == "ValueError: no such"


def test_the_marks_that_torch_puts_in_front_are_taken_away():
    marked = [f"[rank3]: {line}" for line in _raised()]
    assert last_traceback(marked) == last_traceback(_raised())


def test_where_there_is_none():
    assert last_traceback(["Segmentation fault"]) is None
    assert last_traceback([]) is None


def test_a_place_is_the_same_whatever_the_message():
    first = last_traceback(["Traceback (most recent call last):", '  File "a.py", line 3, in f', "E: 1"])
    other = last_traceback(["Traceback (most recent call last):", '  File "a.py", line 3, in f', "E: 2"])
    assert first is not None
    assert other is not None
    assert place(first) == place(other) == ("a.py:3 f", "E")


@given(
    st.lists(st.sampled_from([*_raised(True), "", "x", "Traceback (most recent call last):"]), max_size=30)
)
def test_any_lines_at_all(lines):
    found = last_traceback(lines)
    assert (found is not None) == ("Traceback (most recent call last):" in lines)
    if found is not None:
        place(found), summary(found)
