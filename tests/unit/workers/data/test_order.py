"""Rules of the sample order: exactly once, the same however it is sliced."""

import time
from dataclasses import replace
from itertools import chain, pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workers.data.order import OrderSettings, SampleOrder, resolve_shuffle

SIZES = [1, 7, 8, 1000, 1797]


@st.composite
def orders(draw: st.DrawFn) -> SampleOrder:
    """Any block table (empty blocks too), any V, global or windowed."""
    rows = draw(st.sampled_from(SIZES) | st.integers(1, 3000))
    cuts = draw(st.lists(st.integers(0, rows), max_size=40))
    block_rows = np.diff(np.array([0, *sorted(cuts), rows], dtype=np.int64))
    return SampleOrder(
        block_rows=block_rows,
        seed=draw(st.integers(0, 2**63)),
        epoch=draw(st.integers(0, 1000)),
        vranks=draw(st.integers(1, 20)),
        window_blocks=draw(st.none() | st.integers(1, 50)),
    )


def samples(order: SampleOrder, vrank: int, start: int, stop: int) -> list[int]:
    """Global sample ids, by definition of the block table."""
    runs = order.addresses(vrank, start, stop)
    blocks, rows = runs.blocks, runs.rows
    assert (rows < order.block_rows[blocks]).all()
    assert (rows >= 0).all()
    first = np.cumsum(order.block_rows) - order.block_rows
    return [int(sample) for sample in first[blocks] + rows]


def whole(order: SampleOrder, vrank: int) -> list[int]:
    first, last = order.span(vrank)
    return samples(order, vrank, 0, last - first)


@settings(max_examples=150, deadline=None)
@given(order=orders())
def test_an_epoch_sees_every_sample_exactly_once(order: SampleOrder) -> None:
    seen = [sample for vrank in range(order.vranks) for sample in whole(order, vrank)]
    assert sorted(seen) == list(range(order.rows))


@settings(max_examples=150, deadline=None)
@given(order=orders(), data=st.data())
def test_any_slice_equals_the_same_stretch_of_the_whole(order: SampleOrder, data: st.DataObject) -> None:
    vrank = data.draw(st.integers(0, order.vranks - 1))
    everything = whole(order, vrank)
    start = data.draw(st.integers(0, len(everything)))
    stop = data.draw(st.integers(start, len(everything)))
    resumed = SampleOrder(**{name: getattr(order, name) for name in order.__dataclass_fields__})
    assert samples(resumed, vrank, start, stop) == everything[start:stop]


@settings(max_examples=80, deadline=None)
@given(order=orders())
def test_spans_differ_by_at_most_one_sample_and_tile_the_line(order: SampleOrder) -> None:
    spans = [order.span(vrank) for vrank in range(order.vranks)]
    lengths = [stop - start for start, stop in spans]
    assert max(lengths) - min(lengths) <= 1
    edges = [0, *(stop for _, stop in spans)]
    assert [start for start, _ in spans] == edges[:-1]
    assert edges[-1] == order.rows


@settings(max_examples=150, deadline=None)
@given(order=orders(), sample_rows=st.integers(2, 400), data=st.data())
def test_packed_every_row_is_in_one_sample_but_for_less_than_a_sample_at_the_lines_end(
    order: SampleOrder, sample_rows: int, data: st.DataObject
) -> None:
    order = replace(order, sample_rows=sample_rows)
    assert order.rows == int(order.block_rows.sum()) // sample_rows
    first = np.cumsum(order.block_rows) - order.block_rows
    seen: list[list[int]] = []
    for vrank in range(order.vranks):
        begin, end = order.span(vrank)
        runs = order.addresses(vrank, 0, end - begin)
        rows = [
            list(range(first[block] + row, first[block] + row + length))
            for block, row, length in zip(runs.blocks, runs.rows, runs.lengths, strict=True)
        ]
        assert (runs.rows + runs.lengths <= order.block_rows[runs.blocks]).all()
        own = [list(chain(*rows[a:b])) for a, b in pairwise(runs.bounds)]
        assert {len(sample) for sample in own} <= {sample_rows}
        seen += own
        start = data.draw(st.integers(0, len(own)))
        stop = data.draw(st.integers(start, len(own)))
        part, again = runs.part(start, stop), replace(order).addresses(vrank, start, stop)
        for name in ("blocks", "rows", "lengths", "bounds"):
            assert (getattr(part, name) == getattr(again, name)).all()
    together = list(chain(*seen))
    assert len(together) == len(set(together)) == order.rows * sample_rows
    assert set(together) <= set(range(int(order.block_rows.sum())))


def test_packed_a_window_needs_few_blocks_at_a_time() -> None:
    """100 blocks of 1,000 rows, samples of 70: a sample that goes on in another block does so in the next one
    of its window or in the first one of the next window."""
    settings_ = OrderSettings(seed=3, window_blocks=5, sample_rows=70)
    order = settings_.epoch(1, np.full(100, 1000), 4)
    needed = []
    for vrank in range(4):
        first, last = order.span(vrank)
        runs = order.addresses(vrank, 0, last - first)
        needed += np.unique(runs.blocks).tolist()
        for start in range(0, last - first - 35, 35):
            assert len(np.unique(runs.part(start, start + 35).blocks)) <= 12
    assert len(needed) <= 100 + 2 * 3


def test_a_window_needs_few_blocks_at_a_time() -> None:
    """100 blocks of 10 in 4 spans, windows of 5: any 50 consecutive samples touch at most 5 blocks or,
    where a window ends, 10; over the epoch only blocks that a span begins in are needed twice."""
    order = SampleOrder(block_rows=np.full(100, 10), seed=3, epoch=1, vranks=4, window_blocks=5)
    blocks = [order.addresses(vrank, 0, 250).blocks for vrank in range(4)]
    assert all(len(np.unique(b[start : start + 50])) <= 5 for b in blocks for start in range(0, 250, 50))
    assert sum(len(np.unique(b)) for b in blocks) <= 100 + 3


@pytest.mark.parametrize("window_blocks", [None, 5])
def test_epochs_and_seeds_have_different_orders(window_blocks: int | None) -> None:
    def order(seed: int, epoch: int) -> list[int]:
        rows = np.full(100, 10)
        return whole(
            SampleOrder(block_rows=rows, seed=seed, epoch=epoch, vranks=2, window_blocks=window_blocks), 0
        )

    assert order(0, 0) != order(0, 1)
    assert order(0, 0) != order(1, 0)


@pytest.mark.parametrize(
    ("window_blocks", "expected"),
    [
        (None, [[4, 6, 11, 1, 9, 3], [8, 10, 2, 7, 5, 0]]),
        (2, [[7, 11, 9, 10, 8, 0], [2, 5, 3, 1, 4, 6]]),
    ],
)
def test_the_order_is_pinned_forever(window_blocks: int | None, expected: list[list[int]]) -> None:
    order = SampleOrder(
        block_rows=np.array([3, 4, 2, 3]), seed=0, epoch=0, vranks=2, window_blocks=window_blocks
    )
    assert [whole(order, vrank) for vrank in range(2)] == expected


@pytest.mark.parametrize("window_blocks", [None, 32])
def test_the_first_batch_of_a_billion_samples_comes_at_once(window_blocks: int | None) -> None:
    """50 ms is the goal on an idle core; the limit leaves room for a busy machine."""
    order = SampleOrder(
        block_rows=np.full(10**6, 1000), seed=0, epoch=0, vranks=8, window_blocks=window_blocks
    )
    begin = time.perf_counter()
    order.addresses(5, 10**8, 10**8 + 64)
    assert time.perf_counter() - begin < 5


@pytest.mark.parametrize(
    ("vrank", "start", "stop"), [(0, 0, 6), (0, -1, 1), (0, 3, 2), (2, 0, 1), (-1, 0, 1)]
)
def test_samples_beyond_the_span_are_refused(vrank: int, start: int, stop: int) -> None:
    order = SampleOrder(block_rows=np.array([10]), seed=0, epoch=0, vranks=2)
    with pytest.raises(IndexError):
        order.addresses(vrank, start, stop)


def test_shuffling_is_global_below_8_gb_and_where_windows_would_save_nothing() -> None:
    assert resolve_shuffle(8 * 10**9 - 1) is None
    assert resolve_shuffle(8 * 10**9) == 32
    assert resolve_shuffle(8 * 10**9, single_rows=True) is None
    assert resolve_shuffle(1, "windowed", 4) == 4
    assert resolve_shuffle(10**12, "global") is None
    with pytest.raises(ValueError, match="at least one"):
        resolve_shuffle(1, "windowed", 0)
