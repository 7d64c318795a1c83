"""Resources are added and compared as Ray does it, not as floats do."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clusters.types import Resources

units = st.integers(1, 100_000).map(lambda units: units / 1000)


@given(st.integers(0, 50), units, st.none() | units)
def test_what_so_many_workers_need_holds_so_many_and_not_one_more(count, cpus, gpus):
    each = Resources(cpus=cpus, gpus=gpus or 0.0)
    assert each.times(count).holds(each) == count


def test_ten_times_a_tenth_fits_into_one():
    assert Resources(cpus=1.0).holds(Resources(cpus=0.1)) == 10


@pytest.mark.parametrize(
    ("have", "each", "holds"),
    [
        (Resources(cpus=8), Resources(cpus=2), 4),
        (Resources(cpus=8), Resources(cpus=3), 2),
        (Resources(cpus=8), Resources(cpus=1, gpus=1), 0),
        (Resources(cpus=8, gpus=2), Resources(cpus=1, gpus=1), 2),
        (Resources(cpus=8, gpus=2), Resources(cpus=1, gpus=0.5), 4),
        (Resources(cpus=3, gpus=2), Resources(cpus=1, gpus=0.5), 3),
        (Resources(cpus=0.5), Resources(cpus=1), 0),
    ],
)
def test_the_scarcest_resource_decides(have, each, holds):
    assert have.holds(each) == holds


@pytest.mark.parametrize(
    ("resources", "words"),
    [(Resources(cpus=0.5), "0.5 CPU"), (Resources(cpus=4, gpus=2), "4 CPU and 2 GPU")],
)
def test_they_read_as_people_write_them(resources, words):
    assert str(resources) == words
