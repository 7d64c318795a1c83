from dataclasses import replace

import pytest

from tests.support.checkpoints import FINGERPRINT, JOB, draft
from workers.checkpoint.compatibility import JobFacts, beginning, check_resume
from workers.checkpoint.manifest import Manifest
from workers.checkpoint.policy import Retention
from workers.errors import CheckpointError
from workers.protocol import DataMixture, DataSource, InitFrom, Numerics, Packing

MANIFEST = Manifest.parse(Manifest.compose(draft({}, 100), {}, None).to_bytes())
OTHER_DATA = DataSource(uri="file:///data", manifest_digest="ef" * 32, rows=1797)

PRETRAINED = InitFrom(uri="file:///pretrained", step=20, digest="ab" * 32, tensors=("model/b", "model/a"))


def refused(job=JOB, fingerprint=FINGERPRINT) -> str:
    with pytest.raises(CheckpointError) as caught:
        check_resume(MANIFEST, JobFacts.of(job, fingerprint))
    return str(caught.value)


def test_the_same_job_may_go_on() -> None:
    check_resume(MANIFEST, JobFacts.of(JOB, FINGERPRINT))


def test_what_bits_do_not_depend_on_may_change() -> None:
    moved = replace(JOB.train, uri="s3://elsewhere")
    job = replace(
        JOB, steps=5, name="other", train=moved, evaluate_every=3, checkpoint_keep=Retention(last=9)
    )
    check_resume(MANIFEST, JobFacts.of(job, FINGERPRINT))


@pytest.mark.parametrize("numerics", list(Numerics))
@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"recipe": "recipe:Other"}, 'recipe: "recipe:Toy" → "recipe:Other"'),
        ({"params": {"width": 9, "rates": [0.1, 1e-05]}}, "params.width: 8 → 9"),
        ({"params": {"rates": [0.1, 1e-05]}}, "params.width: 8 → (none)"),
        ({"seed": 8}, "seed: 7 → 8"),
        ({"virtual_ranks": 16}, "virtual_ranks: 8 → 16"),
        ({"batch_size": 32}, "batch_size: 64 → 32"),
        ({"max_grad_norm": 1.0}, "max_grad_norm: null → 1.0"),
        ({"train": OTHER_DATA}, "train data digest"),
        ({"train": replace(JOB.train, window_blocks=4)}, "train data window_blocks: null → 4"),
        ({"train": None}, "train data rows: 1797 → (none)"),
        ({"init_from": PRETRAINED}, "init_from.digest: (none) → "),
        ({"freeze": ("encoder.*",)}, 'freeze: [] → ["encoder.*"]'),
    ],
)
def test_another_job_is_refused_whatever_its_numerics(change, said, numerics) -> None:
    message = refused(replace(JOB, numerics=numerics, **change))
    assert said in message
    assert "job toy at step 100" in message
    assert "resume with the job file that wrote it" in message


def test_data_that_grew_are_named_by_the_version_that_was_read() -> None:
    pinned = JOB.train.manifest_digest[:12]
    assert f"--set data.train.version={pinned}" in refused(replace(JOB, train=OTHER_DATA))
    assert "data.train.version" not in refused(replace(JOB, seed=8))


def test_other_packing_is_another_job() -> None:
    packed = replace(JOB.train, packing=Packing(column="ids", length=16))
    assert 'train data packing: (none) → {"column": "ids", "length": 16}' in refused(
        replace(JOB, train=packed)
    )


def test_all_differences_are_listed_at_once() -> None:
    message = refused(replace(JOB, seed=8, batch_size=32), FINGERPRINT | {"threads": 2})
    assert "seed: 7 → 8; batch_size: 64 → 32; environment threads: 1 → 2" in message


def test_another_environment_is_refused_entry_by_entry() -> None:
    message = refused(fingerprint={"torch": "2.14.0", "threads": 1, "device": "cpu", "cuda": "13"})
    assert 'environment cuda: (none) → "13"; environment torch: "2.13.0" → "2.14.0"' in message
    assert "threads" not in message
    assert "numerics: relaxed" in message


@pytest.mark.parametrize(
    ("sources", "said"),
    [
        ({"recipe.py": b"class Toy: pass"}, "recipe.py changed"),
        ({**JOB.sources, "helper.py": b""}, "helper.py is new"),
        ({}, "recipe.py is gone"),
    ],
)
def test_changed_sources_are_refused_and_named(sources, said) -> None:
    message = refused(replace(JOB, sources=sources))
    assert said in message
    assert "numerics: relaxed" in message


def test_relaxed_numerics_allow_another_environment_and_changed_sources() -> None:
    job = replace(JOB, sources={}, numerics=Numerics.RELAXED)
    check_resume(MANIFEST, JobFacts.of(job, FINGERPRINT | {"torch": "2.14.0"}))


def test_a_mixture_goes_on_only_with_the_same_sources_weights_and_epochs() -> None:
    mix = DataMixture(sources=(JOB.train, OTHER_DATA), weights=(3, 1), epoch_end="last")
    job = replace(JOB, train=mix)
    written = Manifest.parse(Manifest.compose(draft({}, 100, job), {}, None).to_bytes())
    moved = replace(OTHER_DATA, uri="s3://elsewhere")
    check_resume(
        written, JobFacts.of(replace(job, train=replace(mix, sources=(JOB.train, moved))), FINGERPRINT)
    )
    others = {
        "train data mix.1.weight: 1 → 2": replace(mix, weights=(3, 2)),
        "train data mix.1.digest": replace(mix, sources=(JOB.train, JOB.train)),
        'train data epoch_end: "last" → "first"': replace(mix, epoch_end="first"),
        "train data mix.0.rows: 1797 → (none)": JOB.train,
    }
    for said, train in others.items():
        with pytest.raises(CheckpointError) as caught:
            check_resume(written, JobFacts.of(replace(job, train=train), FINGERPRINT))
        assert said in str(caught.value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"init_from": None}, "init_from.step: 20 → (none)"),
        ({"init_from": replace(PRETRAINED, step=30, digest="cd" * 32)}, "init_from.step: 20 → 30"),
        ({"init_from": replace(PRETRAINED, uri="file:///moved")}, "init_from.uri"),
        (
            {"init_from": replace(PRETRAINED, tensors=None)},
            'init_from.tensors: ["model/a", "model/b"] → null',
        ),
        ({"init_from": replace(PRETRAINED, rename={"model/x": "model/a"})}, "init_from.rename: {} → "),
        ({"freeze": ()}, 'freeze: ["a.*", "b.*"] → []'),
    ],
)
def test_a_job_that_began_otherwise_is_another_job(change, said) -> None:
    job = replace(JOB, init_from=PRETRAINED, freeze=("b.*", "a.*"))
    written = Manifest.parse(Manifest.compose(draft({}, 100, job), {}, None).to_bytes())
    reordered = replace(PRETRAINED, tensors=("model/a", "model/b", "model/a"))
    check_resume(
        written, JobFacts.of(replace(job, init_from=reordered, freeze=("a.*", "b.*", "a.*")), FINGERPRINT)
    )
    with pytest.raises(CheckpointError) as caught:
        check_resume(written, JobFacts.of(replace(job, **change), FINGERPRINT))
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("digest", "begins"),
    [
        ("0123456789abcdef", "0123456789ab"),
        ("0123456789012e34a", "0123456789012e"),
        ("12e3456789012b", "12e3456789012b"),
    ],
)
def test_how_a_digest_begins_is_never_read_as_a_number(digest, begins):
    assert beginning(digest) == begins
