"""Samples that are runs of rows: cutting a line, and picking from what was cut."""

from __future__ import annotations

from itertools import chain, pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from workers.data.runs import Runs, cut

Line = list[int]


def rows_of(line: np.ndarray, runs: Runs) -> list[list[int]]:
    """The rows of each sample, counted along the line."""
    assert runs.lengths is not None
    assert runs.bounds is not None
    assert (runs.lengths > 0).all()
    assert (runs.rows + runs.lengths <= np.diff(line)[runs.blocks]).all()
    first = line[runs.blocks] + runs.rows
    pieces = [list(range(a, a + n)) for a, n in zip(first, runs.lengths, strict=True)]
    return [list(chain(*pieces[a:b])) for a, b in pairwise(runs.bounds)]


@st.composite
def cuts(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, int]:
    sizes = draw(st.lists(st.integers(0, 30), min_size=1, max_size=20).filter(lambda s: sum(s) > 1))
    length = draw(st.integers(1, sum(sizes)))
    starts = draw(st.lists(st.integers(0, sum(sizes) - length), max_size=12))
    line = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    return line, np.array(starts, dtype=np.int64), length


@settings(max_examples=200, deadline=None)
@given(case=cuts())
def test_a_run_has_its_rows_in_order_whatever_blocks_they_are_in(case) -> None:
    line, starts, length = case
    runs = cut(line, starts, length)
    assert len(runs) == len(starts)
    assert rows_of(line, runs) == [list(range(start, start + length)) for start in starts]


@settings(max_examples=200, deadline=None)
@given(case=cuts(), data=st.data())
def test_what_is_picked_is_what_was_there(case, data: st.DataObject) -> None:
    line, starts, length = case
    runs = cut(line, starts, length)
    everything = rows_of(line, runs)
    count = len(everything)
    begin = data.draw(st.integers(0, count))
    end = data.draw(st.integers(begin, count))
    assert rows_of(line, runs.part(begin, end)) == everything[begin:end]
    assert rows_of(line, runs.part(begin, end + 3)) == everything[begin : end + 3]
    assert len(runs.part(count + 1, count + 2)) == 0
    picked = data.draw(st.lists(st.integers(0, count - 1), max_size=8)) if count else []
    selected = runs.select(np.array(picked, dtype=np.int64))
    assert rows_of(line, selected) == [everything[n] for n in picked]
    assert rows_of(line, Runs.joined([runs, selected])) == everything + [everything[n] for n in picked]
    blocks, rows = runs.starts
    assert (line[blocks] + rows == starts).all()
    bad = np.array(data.draw(st.lists(st.integers(0, len(line) - 2), max_size=3)), dtype=np.int64)
    of_bad = {row for block in bad for row in range(line[block], line[block + 1])}
    assert runs.touch(bad).tolist() == [bool(of_bad & set(sample)) for sample in everything]


def test_single_rows_are_their_own_pieces() -> None:
    runs = Runs(blocks=np.array([3, 1, 3]), rows=np.array([0, 5, 2]))
    assert len(runs) == 3
    assert runs.starts == (runs.blocks, runs.rows)
    assert runs.select(np.array([2, 0])).rows.tolist() == [2, 0]
    assert Runs.joined([runs, runs.part(1, 2)]).blocks.tolist() == [3, 1, 3, 1]
    assert runs.touch(np.array([1])).tolist() == [False, True, False]
