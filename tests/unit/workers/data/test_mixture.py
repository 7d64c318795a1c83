"""Rules of a mixture: each source exactly once a pass, its share in every prefix, however it is cut."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workers.data.mixture import Drawn, Mixture


@dataclass(frozen=True, kw_only=True)
class Case:
    """What a mixture is made of, so that a test can make it anew."""

    weights: tuple[int, ...]
    block_rows: tuple[np.ndarray, ...]
    window_blocks: tuple[int | None, ...]
    vranks: int
    seed: int

    def mixture(self, **changes: Any) -> Mixture:
        return Mixture(**{**vars(self), **changes})


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Any weights, V and windows; sources of any size down to one sample, empty blocks too."""
    sources = draw(st.integers(1, 4))
    block_rows = []
    for _ in range(sources):
        rows = draw(st.sampled_from([1, 2, 7, 8]) | st.integers(1, 200))
        cuts = draw(st.lists(st.integers(0, rows), max_size=12))
        block_rows.append(np.diff(np.array([0, *sorted(cuts), rows], dtype=np.int64)))
    return Case(
        weights=tuple(draw(st.integers(1, 9)) for _ in range(sources)),
        block_rows=tuple(block_rows),
        window_blocks=tuple(draw(st.none() | st.integers(1, 5)) for _ in range(sources)),
        vranks=draw(st.integers(1, 12)),
        seed=draw(st.integers(0, 2**63)),
    )


Sample = tuple[int, int, int, int]  # source, pass, block, row


def listed(drawn: Drawn) -> list[Sample]:
    columns = (drawn.sources, drawn.passes, drawn.runs.blocks, drawn.runs.rows)
    return list(zip(*(column.tolist() for column in columns), strict=True))


def stream(mixture: Mixture, start: int, stop: int) -> list[Sample]:
    """All virtual ranks' samples of these rows, row after row."""
    columns = [listed(mixture.addresses(vrank, start, stop)) for vrank in range(mixture.vranks)]
    return [sample for row in zip(*columns, strict=True) for sample in row]


@settings(max_examples=150, deadline=None)
@given(case=cases(), rows=st.integers(1, 80))
def test_at_any_moment_samples_of_a_source_were_seen_equally_often_or_once_more(case, rows):
    """So each pass of a source has every sample at most once, and all of them but in the pass that is on."""
    seen = Counter(stream(case.mixture(), 0, rows))
    assert max(seen.values()) == 1
    found: defaultdict[tuple[int, int], set[tuple[int, int]]] = defaultdict(set)
    for source, number, block, row in seen:
        found[source, number].add((block, row))
    for source, block_rows in enumerate(case.block_rows):
        stored = {(block, row) for block, count in enumerate(block_rows) for row in range(count)}
        passes = sorted(number for k, number in found if k == source)
        assert passes == list(range(len(passes)))
        assert all(found[source, number] == stored for number in passes[:-1])
        assert all(found[source, number] <= stored for number in passes[-1:])


@settings(max_examples=150, deadline=None)
@given(case=cases(), start=st.integers(0, 10**9), rows=st.integers(0, 60))
def test_every_batch_has_each_sources_share_to_within_one_sample_at_either_end(case, start, rows):
    found = Counter(sample[0] for sample in stream(case.mixture(), start, start + rows))
    for source, weight in enumerate(case.weights):
        share = rows * case.vranks * weight / sum(case.weights)
        assert abs(found[source] - share) < 2
        if start == 0:
            assert abs(found[source] - share) < 1


@settings(max_examples=100, deadline=None)
@given(case=cases(), data=st.data())
def test_a_virtual_ranks_samples_are_the_same_however_they_are_cut_and_whoever_looks(case, data):
    """Resuming at any step, in another process, with others of the virtual ranks, in any order."""
    rows = data.draw(st.integers(1, 120))
    mixture = case.mixture()
    whole = [listed(mixture.addresses(vrank, 0, rows)) for vrank in range(case.vranks)]
    resumed = case.mixture()
    for _ in range(5):
        vrank = data.draw(st.integers(0, case.vranks - 1))
        start = data.draw(st.integers(0, rows))
        stop = data.draw(st.integers(start, rows))
        assert listed(resumed.addresses(vrank, start, stop)) == whole[vrank][start:stop]


@settings(max_examples=30, deadline=None)
@given(case=cases(), data=st.data())
def test_training_that_changes_its_workers_at_every_step_reads_what_an_undisturbed_run_reads(case, data):
    """Each step, the virtual ranks are shared out anew among new workers, which know nothing but the step."""
    micro_batch, steps = data.draw(st.integers(1, 5)), data.draw(st.integers(1, 12))
    undisturbed = case.mixture()
    for step in range(steps):
        start, stop = step * micro_batch, (step + 1) * micro_batch
        workers = [case.mixture() for _ in range(data.draw(st.integers(1, case.vranks)))]
        hosts = [data.draw(st.sampled_from(workers)) for _ in range(case.vranks)]
        together = [listed(hosts[v].addresses(v, start, stop)) for v in range(case.vranks)]
        assert [s for row in zip(*together, strict=True) for s in row] == stream(undisturbed, start, stop)


def large(window: int | None, **changes: Any) -> Mixture:
    fields: dict[str, Any] = {
        "weights": (5, 3, 1),
        "block_rows": [np.full(400, 10), np.full(300, 10), np.full(20, 7)],
        "window_blocks": [window] * 3,
        "vranks": 8,
        "seed": 3,
    }
    return Mixture(**{**fields, **changes})


def test_a_block_is_read_by_one_virtual_rank_and_only_for_a_short_while():
    """One pass over a windowed source of 400 blocks: only blocks that a span begins in are read twice."""
    mixture = large(4)
    readers: dict[int, set[int]] = {}
    for vrank in range(8):
        drawn = mixture.addresses(vrank, 0, 1100)
        blocks = drawn.runs.blocks[(drawn.sources == 0) & (drawn.passes == 0)]
        for start in range(0, len(blocks), 40):
            assert len(np.unique(blocks[start : start + 40])) <= 10
        for block in np.unique(blocks).tolist():
            readers.setdefault(block, set()).add(vrank)
    assert len(readers) == 400
    assert sum(len(ranks) for ranks in readers.values()) <= 400 + 7


@pytest.mark.parametrize("vranks", [1, 2, 3, 8, 9])
def test_no_virtual_rank_is_stuck_with_one_source(vranks):
    """Also where the pattern's length and V would make it so: over V rounds all have the same shares."""
    for weights in [(1, 1), (1, 8), (3, 5), (7, 2)]:
        mixture = large(
            None,
            weights=weights,
            vranks=vranks,
            block_rows=[np.array([50]), np.array([70])],
            window_blocks=[None] * 2,
        )
        rows = sum(weights) * vranks
        for vrank in range(vranks):
            found = np.bincount(mixture.addresses(vrank, 0, rows).sources, minlength=2)
            assert found.tolist() == [weight * vranks for weight in weights]


def test_sources_and_passes_and_seeds_have_orders_of_their_own():
    block_rows = [np.full(10, 10), np.full(10, 10)]

    def order(seed: int, source: int, number: int) -> list[tuple[int, int]]:
        mixture = large(
            None, weights=(1, 1), block_rows=block_rows, window_blocks=[None, None], vranks=1, seed=seed
        )
        samples = listed(mixture.addresses(0, 0, 400))
        return [(block, row) for k, e, block, row in samples if (k, e) == (source, number)]

    orders = [order(*which) for which in [(0, 0, 0), (0, 1, 0), (0, 0, 1), (1, 0, 0)]]
    assert all(len(one) == 100 for one in orders)
    assert all(orders[i] != orders[j] for i in range(4) for j in range(i))


def test_the_order_is_pinned_forever():
    mixture = large(
        None, weights=(2, 1), block_rows=[np.array([3, 2]), np.array([2])], window_blocks=[None, 1], vranks=2
    )
    assert stream(mixture, 0, 5) == [
        *((0, 0, 0, 2), (0, 0, 1, 0), (1, 0, 0, 1), (0, 0, 1, 1), (1, 0, 0, 0)),
        *((0, 0, 0, 0), (0, 0, 0, 1), (0, 1, 0, 0), (0, 1, 0, 2), (1, 1, 0, 1)),
    ]


@pytest.mark.parametrize("window_blocks", [None, 32])
def test_the_first_batch_of_billions_of_samples_comes_at_once(window_blocks):
    """50 ms is the goal on an idle core; the limit leaves room for a busy machine."""
    blocks = np.full(10**6, 1000)
    mixture = large(window_blocks, weights=(7, 2, 1), block_rows=[blocks] * 3)
    begin = time.perf_counter()
    mixture.addresses(5, 10**9, 10**9 + 64)
    assert time.perf_counter() - begin < 10


@pytest.mark.parametrize(("vrank", "start", "stop"), [(0, -1, 1), (0, 3, 2), (8, 0, 1), (-1, 0, 1)])
def test_samples_that_there_are_not_are_refused(vrank, start, stop):
    with pytest.raises(IndexError):
        large(None).addresses(vrank, start, stop)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weights": (1, 2)}, "every source needs a weight"),
        ({"weights": (1, 0, 1)}, "at least 1"),
        ({"block_rows": [np.array([3]), np.array([0]), np.array([1])]}, "needs a sample"),
    ],
)
def test_sources_that_do_not_fit_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        large(None, **changes)
