"""A mixture's steps: all full, one after the other; its epochs end when a source was used up."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workers.data.pattern import Pattern
from workers.data.schedule import Schedule
from workers.data.stream import StreamSchedule, cut_into_steps
from workers.protocol import DataMixture, DataSource


@st.composite
def schedules(draw: st.DrawFn) -> StreamSchedule:
    sources = draw(st.integers(1, 4))
    return StreamSchedule(
        pattern=Pattern(tuple(draw(st.integers(1, 9)) for _ in range(sources))),
        rows=tuple(draw(st.integers(1, 60)) for _ in range(sources)),
        vranks=draw(st.integers(1, 8)),
        micro_batch=draw(st.integers(1, 6)),
        epoch_end=draw(st.sampled_from(["first", "last"])),
    )


def passes(schedule: StreamSchedule, samples: int) -> list[int]:
    """How often each source was used up after so many samples, by counting."""
    drawn = [0] * len(schedule.rows)
    for position in range(samples):
        drawn[int(schedule.pattern.sources[position % schedule.pattern.period])] += 1
    return [count // rows for count, rows in zip(drawn, schedule.rows, strict=True)]


@settings(max_examples=80, deadline=None)
@given(schedule=schedules(), step=st.integers(0, 10**12))
def test_steps_are_full_and_follow_one_another(schedule, step):
    here, there = schedule.at(step), schedule.at(step + 1)
    assert set(here.counts) == {schedule.micro_batch}
    assert len(here.counts) == schedule.vranks
    assert (here.epoch, here.start + schedule.micro_batch) == (there.epoch, there.start)
    size = schedule.samples_before(step + 1) - schedule.samples_before(step)
    assert size == sum(here.counts)
    assert schedule.steps_together(step) >= 1


@settings(max_examples=80, deadline=None)
@given(schedule=schedules(), epochs=st.integers(1, 3))
def test_the_last_step_of_an_epoch_is_the_one_that_uses_up_the_first_or_last_source(schedule, epochs):
    ended = min if schedule.epoch_end == "last" else max
    steps = schedule.steps_of(epochs)
    assert ended(passes(schedule, schedule.samples_before(steps))) >= epochs
    assert ended(passes(schedule, schedule.samples_before(steps - 1))) < epochs


@settings(max_examples=80, deadline=None)
@given(schedule=schedules(), step=st.integers(0, 40))
def test_epochs_are_counted_by_what_was_used_up_before(schedule, step):
    ended = min if schedule.epoch_end == "last" else max
    assert schedule.epoch(step) == ended(passes(schedule, schedule.samples_before(step)))


@pytest.mark.parametrize(("epoch_end", "steps"), [("first", 1), ("last", 10)])
def test_a_small_and_a_large_source_of_the_same_weight(epoch_end, steps):
    """10 and 100 samples, in turns: the first has been used up after about 20 samples, the last after 200."""
    source = DataSource(uri="file:///a", manifest_digest="0" * 64, rows=10)
    other = DataSource(uri="file:///b", manifest_digest="1" * 64, rows=100)
    train = DataMixture(sources=(source, other), weights=(1, 1), epoch_end=epoch_end)
    assert cut_into_steps(train, vranks=4, micro_batch=5).steps_of(1) == steps
    assert cut_into_steps(other, vranks=4, micro_batch=5) == Schedule(rows=100, vranks=4, micro_batch=5)
