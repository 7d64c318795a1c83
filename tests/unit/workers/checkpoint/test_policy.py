import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workers.checkpoint.policy import Best, Retention, staying

STEPS = st.sets(st.integers(1, 60), max_size=12)
VALUES = st.one_of(st.sampled_from([math.nan, math.inf, -math.inf]), st.integers(-3, 3).map(float))
BEST = st.builds(Best, metric=st.just("loss"), mode=st.sampled_from(["min", "max"]), count=st.integers(1, 4))
POLICIES = st.builds(
    Retention,
    last=st.integers(1, 5),
    every=st.none() | st.integers(1, 20),
    best=st.none() | BEST,
)


@st.composite
def folders(draw):
    """Steps, which of them are sound, and what is known of their metrics."""
    steps = draw(STEPS)
    sound = {step for step in sorted(steps) if draw(st.booleans())}
    known = {step: draw(VALUES) for step in sorted(steps) if draw(st.booleans())}
    names = {step: draw(st.sampled_from(["loss", "accuracy"])) for step in known}
    return steps, sound, {step: {names[step]: value} for step, value in known.items()}


@given(POLICIES, folders())
@settings(deadline=None)
def test_each_rule_keeps_what_it_promises_and_nothing_else_stays(keep, folder) -> None:
    steps, sound, metrics = folder
    stays = staying(keep, steps, sound, metrics)
    newest = sorted(sound)[-keep.last :]
    numbered = {step for step in sound if keep.every and step % keep.every == 0}
    candidates = {
        s: metrics[s]["loss"] for s in sound if math.isfinite(metrics.get(s, {}).get("loss", math.nan))
    }
    best = stays & candidates.keys() if keep.best else set()
    assert set(newest) | numbered <= stays <= steps
    for step in steps - stays:
        assert len([s for s in sound if s > step]) >= keep.last, "only what is older than enough others goes"
        if keep.best and step in candidates:
            sign = 1 if keep.best.mode == "min" else -1
            better = [s for s in best if (sign * candidates[s], -s) < (sign * candidates[step], -step)]
            assert len(better) >= keep.best.count
    if len(sound) >= keep.last:
        extra = stays - numbered - {s for s in steps if s >= newest[0]}
        assert len(extra) <= (keep.best.count if keep.best else 0)


@given(POLICIES, folders())
@settings(deadline=None)
def test_keeping_twice_is_keeping_once(keep, folder) -> None:
    steps, sound, metrics = folder
    stays = staying(keep, steps, sound, metrics)
    assert staying(keep, stays, sound & stays, metrics) == stays


@given(POLICIES, folders(), st.integers(61, 99))
@settings(deadline=None)
def test_a_new_checkpoint_never_brings_back_what_was_let_go(keep, folder, step) -> None:
    steps, sound, metrics = folder
    before = staying(keep, steps, sound, metrics)
    assert staying(keep, {*steps, step}, {*sound, step}, metrics) <= before | {step}


def test_of_equal_values_the_newer_stays() -> None:
    keep = Retention(last=1, best=Best(metric="loss", mode="max", count=2))
    metrics = {step: {"loss": 1.0} for step in (1, 2, 3)}
    assert staying(keep, [1, 2, 3, 4], [1, 2, 3, 4], metrics) == {2, 3, 4}


@pytest.mark.parametrize("wrong", [{"last": 0}, {"every": 0}])
def test_keeping_nothing_is_refused(wrong) -> None:
    with pytest.raises(ValueError, match="at least one"):
        Retention(**wrong)
    with pytest.raises(ValueError, match="at least one"):
        Best(metric="loss", mode="min", count=0)
