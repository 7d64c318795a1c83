"""Rules of the schedule: each sample of an epoch in exactly one step."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workers.data.order import span
from workers.data.schedule import Schedule

SCHEDULES = st.builds(
    Schedule,
    rows=st.sampled_from([1, 7, 8, 1000, 1797]) | st.integers(1, 3000),
    vranks=st.integers(1, 20),
    micro_batch=st.integers(1, 40),
)


@settings(max_examples=100, deadline=None)
@given(schedule=SCHEDULES, epoch=st.integers(0, 5))
def test_every_index_of_every_span_is_read_once_an_epoch(schedule: Schedule, epoch: int) -> None:
    seen: list[list[int]] = [[] for _ in range(schedule.vranks)]
    for number in range(schedule.steps_per_epoch):
        piece = schedule.at(epoch * schedule.steps_per_epoch + number)
        assert piece.epoch == epoch
        for vrank, count in enumerate(piece.counts):
            seen[vrank].extend(range(piece.start, piece.start + count))
    for vrank, indices in enumerate(seen):
        first, last = span(schedule.rows, schedule.vranks, vrank)
        assert indices == list(range(last - first))


@settings(max_examples=100, deadline=None)
@given(schedule=SCHEDULES, step=st.integers(0, 200))
def test_samples_before_a_step_are_the_sum_of_what_earlier_steps_read(schedule: Schedule, step: int) -> None:
    assert schedule.samples_before(step) == sum(sum(schedule.at(earlier).counts) for earlier in range(step))


@settings(max_examples=100, deadline=None)
@given(schedule=SCHEDULES, step=st.integers(0, 10**12), epochs=st.integers(1, 100))
def test_steps_go_together_to_the_end_of_their_epoch(schedule: Schedule, step: int, epochs: int) -> None:
    end = step + schedule.steps_together(step)
    assert (schedule.at(step).epoch, schedule.at(end).start) == (schedule.epoch(step), 0)
    assert schedule.epoch(end - 1) == schedule.epoch(step) == schedule.epoch(end) - 1
    assert (
        schedule.epoch(schedule.steps_of(epochs))
        == epochs
        == schedule.epoch(schedule.steps_of(epochs) - 1) + 1
    )


@settings(max_examples=100, deadline=None)
@given(schedule=SCHEDULES, step=st.integers(0, 10**12))
def test_no_step_is_empty_and_only_the_last_is_short(schedule: Schedule, step: int) -> None:
    counts = schedule.at(step).counts
    last = step % schedule.steps_per_epoch == schedule.steps_per_epoch - 1
    assert sum(counts) > 0
    assert max(counts) <= schedule.micro_batch
    assert last or set(counts) == {schedule.micro_batch}


def test_one_sample_goes_to_the_one_virtual_rank_that_owns_it() -> None:
    schedule = Schedule(rows=1, vranks=8, micro_batch=4)
    assert schedule.steps_per_epoch == 1
    assert schedule.at(3).counts == (0, 0, 0, 0, 0, 0, 0, 1)
    assert schedule.at(3).epoch == 3


@pytest.mark.parametrize("wrong", [{"rows": 0}, {"vranks": 0}, {"micro_batch": 0}])
def test_sizes_below_one_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Schedule(**{"rows": 1, "vranks": 1, "micro_batch": 1, **wrong})
