"""What a job takes of an earlier state, and what it says of what does not fit."""

from __future__ import annotations

from fnmatch import fnmatchcase

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.checkpoint.matching import match
from workers.checkpoint.tensors import TensorSpec
from workers.errors import CheckpointError
from workers.protocol import InitFrom


def specs(**shapes: tuple[int, ...]) -> dict[str, TensorSpec]:
    """`model/` tensors; in names, `_` stands for the dot."""
    return {f"model/{name.replace('_', '.')}": TensorSpec(dtype="F32", shape=s) for name, s in shapes.items()}


def start(*tensors: str, **rename: str) -> InitFrom:
    renamed = {f"model/{old}.": f"model/{new}." for old, new in rename.items()}
    return InitFrom(uri="file:///there", step=3, digest="", tensors=tensors or None, rename=renamed)


OWN = specs(encoder_weight=(4, 2), encoder_bias=(4,), head_weight=(5, 4))
THEIRS = specs(encoder_weight=(4, 2), encoder_bias=(4,), head_weight=(10, 4))
SLOT = {"optimizer/encoder.weight/exp_avg": TensorSpec(dtype="F32", shape=(4, 2))}


def refused(wish: InitFrom, own=OWN, theirs=THEIRS, optional=()) -> str:
    with pytest.raises(CheckpointError) as caught:
        match(wish, own, theirs, optional)
    assert caught.value.where == "init_from: file:///there"
    return caught.value.what


def test_all_of_a_model_is_taken_and_nothing_of_an_optimizer() -> None:
    assert match(start(), OWN, {**OWN, **SLOT}) == {key: key for key in sorted(OWN)}
    assert match(start("*"), OWN, {**OWN, **SLOT}) == {key: key for key in sorted(OWN)}


def test_whether_a_tensor_is_trained_is_no_difference() -> None:
    frozen = {key: TensorSpec(dtype=s.dtype, shape=s.shape, frozen=True) for key, s in OWN.items()}
    assert len(match(start(), frozen, OWN)) == 3


def test_patterns_choose_among_the_jobs_own_keys() -> None:
    assert match(start("model/encoder.*"), OWN, THEIRS) == {
        "model/encoder.bias": "model/encoder.bias",
        "model/encoder.weight": "model/encoder.weight",
    }
    assert match(start("model/*.bias"), OWN, THEIRS) == {"model/encoder.bias": "model/encoder.bias"}


def test_other_shapes_and_types_are_told_with_both() -> None:
    assert "model/head.weight is F32 (10, 4) there and F32 (5, 4) here" in refused(start())
    half = {**OWN, "model/head.weight": TensorSpec(dtype="BF16", shape=(5, 4))}
    assert "model/head.weight is BF16 (5, 4) there and F32 (5, 4) here" in refused(start(), theirs=half)


def test_everything_that_does_not_fit_is_told_at_once() -> None:
    theirs = specs(encodr_weight=(4, 2), encoder_bias=(3,), head_weight=(10, 4), pooler=(2,))
    said = refused(start("model/*", "model/haed.*", "optimizer/*", bakbone="encoder"), theirs=theirs)
    assert "model/encoder.weight is not there; the nearest is model/encodr.weight" in said
    assert "model/encoder.bias is F32 (3,) there and F32 (4,) here" in said
    assert "model/head.weight is F32 (10, 4) there" in said
    assert "model/haed.* matches no tensor of this job; the nearest is model/head.weight" in said
    assert "optimizer/*: the optimizer's state is taken as a part of the whole" in said
    assert "rename: no key there begins with model/bakbone." in said
    assert "pooler" not in said  # patterns were given: what else is there is left alone


def test_without_patterns_what_only_the_other_has_does_not_fit() -> None:
    more = {**OWN, **specs(decoder_weight=(2,)), "extra/average": TensorSpec(dtype="F32", shape=())}
    said = refused(start(), theirs=more)
    assert "model/decoder.weight is there, and this job has no model/decoder.weight; the nearest is" in said
    assert "extra/average" not in said
    assert "extra/average is there, and this job has no extra/average" in refused(start("*"), theirs=more)


def test_of_very_much_that_does_not_fit_the_first_are_told_and_how_many_there_are() -> None:
    own = specs(**{f"layer{n:03d}": (1,) for n in range(500)})
    said = refused(start(), own=own, theirs={})
    assert said.count("is not there") == 12
    assert "... and 488 more" in said


def test_names_are_mapped_by_how_they_begin_and_the_longest_beginning_counts() -> None:
    theirs = specs(net_a_weight=(4, 2), net_a_bias=(4,), net_b_weight=(5, 4))
    wish = InitFrom(
        uri="", step=1, digest="", rename={"model/net.": "model/head.", "model/net.a.": "model/encoder."}
    )
    own = specs(encoder_weight=(4, 2), encoder_bias=(4,), head_b_weight=(5, 4))
    assert match(wish, own, theirs) == {
        "model/encoder.bias": "model/net.a.bias",
        "model/encoder.weight": "model/net.a.weight",
        "model/head.b.weight": "model/net.b.weight",
    }


def test_two_names_do_not_become_one() -> None:
    theirs = {**OWN, **specs(backbone_bias=(4,))}
    said = refused(start("model/encoder.*", backbone="encoder"), theirs=theirs)
    assert "rename: both model/backbone.bias and model/encoder.bias become model/encoder.bias" in said


def test_constants_that_other_formats_leave_out_keep_their_values() -> None:
    own = {**OWN, **specs(mask=(3,))}
    assert "model/mask" not in match(start(), own, OWN, {"model/mask"})
    assert "model/mask" in match(start(), own, own, {"model/mask"})
    assert "model/mask is not there" in refused(start(), own=own, theirs=OWN)


names = st.dictionaries(st.text("ab.", min_size=1, max_size=4), st.integers(0, 2), max_size=8)
patterns = st.lists(st.text("ab.*?", min_size=1, max_size=4), max_size=3)


@given(own=names, theirs=names, wanted=patterns)
def test_what_is_taken_is_what_the_patterns_choose_and_all_of_it_fits(own, theirs, wanted) -> None:
    mine = {f"model/{n}": TensorSpec(dtype="F32", shape=(size,)) for n, size in own.items()}
    there = {f"model/{n}": TensorSpec(dtype="F32", shape=(size,)) for n, size in theirs.items()}
    asked = [f"model/{pattern}" for pattern in wanted]
    expected = {key for key in mine if any(fnmatchcase(key, p) for p in asked or ["model/*"])}
    fits = all(there.get(key) == mine[key] for key in expected)
    fits &= all(any(fnmatchcase(key, p) for key in mine) for p in asked or ["model/*"])
    fits &= bool(asked) or there.keys() <= mine.keys()
    if fits:
        assert match(start(*asked), mine, there) == {key: key for key in expected}
    else:
        refused(start(*asked), mine, there)
