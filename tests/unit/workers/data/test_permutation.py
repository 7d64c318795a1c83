"""Rules of the keyed permutation."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workers.data.permutation import SIZE_MAX, Permutation

KEYS = st.integers(0, 2**64 - 1)


@settings(max_examples=80, deadline=None)
@given(size=st.sampled_from([0, 1, 2, 3, 7, 8, 9, 1000, 1797, 4096, 4097]) | st.integers(0, 5000), key=KEYS)
def test_every_element_appears_exactly_once(size: int, key: int) -> None:
    images = Permutation(size, key)(np.arange(size))
    assert np.array_equal(np.sort(images), np.arange(size))
    assert np.array_equal(Permutation(size, key).everything(), images)


@settings(max_examples=50, deadline=None)
@given(size=st.integers(1, SIZE_MAX), key=KEYS, data=st.data())
def test_huge_ranges_stay_inside_and_never_collide(size: int, key: int, data: st.DataObject) -> None:
    indices = np.unique(data.draw(st.lists(st.integers(0, size - 1), max_size=50)))
    images = Permutation(size, key)(indices.astype(np.int64))
    assert len(np.unique(images)) == len(indices)
    assert all(0 <= image < size for image in images.tolist())


@settings(max_examples=30, deadline=None)
@given(key=KEYS, start=st.integers(0, 99_999), length=st.integers(0, 50))
def test_an_element_does_not_depend_on_what_else_is_asked(key: int, start: int, length: int) -> None:
    permutation = Permutation(100_000, key)
    indices = np.arange(start, min(start + length, 100_000))
    everything = permutation(np.arange(100_000))
    assert np.array_equal(permutation(indices), everything[indices])


def test_the_order_is_pinned_forever() -> None:
    """Checkpoints store a position in this order: another permutation would read other samples."""
    assert Permutation(10, 0)(np.arange(10)).tolist() == [2, 7, 4, 5, 0, 3, 9, 1, 8, 6]
    huge = Permutation(SIZE_MAX, 7)(np.array([0, 1, SIZE_MAX - 1]))
    assert huge.tolist() == [258064357697054199, 3261415086314895010, 2756464140778449655]


def test_keys_give_unrelated_orders() -> None:
    """Expected fixed points of a random permutation: one. Over 200 keys, 200 ± 14."""
    size = np.arange(1000)
    fixed = sum(int((Permutation(1000, key)(size) == size).sum()) for key in range(200))
    assert 140 <= fixed <= 260


def test_images_are_spread_evenly_over_the_range() -> None:
    """Chi-squared over 20 x 20 cells of (index, image), 361 degrees of freedom: 5 sigma is 134."""
    cells = np.zeros((20, 20))
    for key in range(300):
        np.add.at(cells, (np.arange(1000) // 50, Permutation(1000, key)(np.arange(1000)) // 50), 1)
    expected = 300 * 50 * 50 / 1000
    assert abs(((cells - expected) ** 2 / expected).sum() - 361) < 134


@pytest.mark.parametrize("index", [-1, 10])
def test_an_index_outside_the_range_is_refused(index: int) -> None:
    with pytest.raises(IndexError, match=r"0\.\.9"):
        Permutation(10, 0)(np.array([index]))


@pytest.mark.parametrize("size", [-1, SIZE_MAX + 1])
def test_a_size_outside_the_domain_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match="2\\^62"):
        Permutation(size, 0)
