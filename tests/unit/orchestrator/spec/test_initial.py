"""`init_from` and `freeze` in a job file."""

from __future__ import annotations

import json

import pytest

from orchestrator.spec import JobSpec

SMALL = """\
name: small
recipe: recipe:Net
batch: {size: 16}
stop: {steps: 3}
"""
TUNED = """\
init_from:
  uri: s3://bucket/runs/pretrain/
  step: 2000
  tensors: ["model/encoder.*", "extra/*"]
  rename: {"model/backbone.": "model/encoder."}
freeze: ["encoder.*"]
"""


def test_a_job_can_begin_with_another_ones_tensors_and_freeze_some(job, tmp_path):
    spec = job(SMALL + TUNED)
    assert spec.init_from.model_dump() == {
        "uri": "s3://bucket/runs/pretrain",
        "step": 2000,
        "tensors": ("model/encoder.*", "extra/*"),
        "rename": {"model/backbone.": "model/encoder."},
    }
    assert spec.freeze == ("encoder.*",)
    assert (job(SMALL).init_from, job(SMALL).freeze) == (None, ())


def test_to_begin_with_all_of_a_model_its_address_is_enough(job, tmp_path):
    short, long = (job(SMALL + text) for text in ("init_from: runs/a", "init_from: {uri: runs/a}"))
    assert short == long
    assert short.init_from.uri == (tmp_path / "runs/a").as_uri()
    assert job(SMALL, "init_from=runs/a") == long


def test_a_job_does_not_begin_with_its_own_checkpoints(problems):
    (said,) = problems(SMALL + "checkpoint: {uri: runs}\ninit_from: runs/small\n")
    assert said.startswith(
        "job.yaml:6: init_from.uri: these are the job's own checkpoints -> go on from them"
    )


def test_it_survives_the_way_through_json(job):
    spec = job(SMALL + TUNED)
    assert JobSpec.model_validate(json.loads(spec.model_dump_json())) == spec


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("init_from: {}", "5: init_from.uri: missing -> add it"),
        ("init_from: 3", "5: init_from: should be a section with fields, not 3"),
        ("init_from: ftp://a/b", "5: init_from.uri: 'ftp://a/b' is not an address"),
        ("init_from: {uri: x, stpe: 3}", "5: init_from.stpe: unknown field -> did you mean step?"),
        ("init_frm: x", "5: init_frm: unknown field -> did you mean init_from?"),
        ("freez: [a]", "5: freez: unknown field -> did you mean freeze?"),
        ("rename: {}", "5: rename: unknown field -> did you mean init_from.rename?"),
        ("init_from: {uri: x, step: -1}", "5: init_from.step: should be at least 0, not -1"),
        (
            "init_from: {uri: x.safetensors, step: 3}",
            "5: init_from.step: a file has no steps -> leave it out",
        ),
        ("init_from: {uri: x, tensors: []}", "5: init_from.tensors: no pattern, no tensor -> name some, or"),
        ("init_from: {uri: x, tensors: model/*}", "5: init_from.tensors: should be a list, not 'model/*'"),
        ("init_from: {uri: x, tensors: [3]}", "5: init_from.tensors.0: should be text, not 3"),
        (
            'init_from: {uri: x.safetensors, tensors: ["*"]}',
            "5: init_from.tensors: a file does not hold the whole state -> write",
        ),
        (
            'init_from: {uri: x, tensors: ["*"], rename: {model/a: model/b}}',
            "5: init_from.rename: the whole state is taken under its own names",
        ),
        (
            "init_from: {uri: x, rename: {a.: model/b.}}",
            "5: init_from.rename: no key begins with 'a.' -> begin",
        ),
        ("freeze: encoder.*", "5: freeze: should be a list, not 'encoder.*'"),
        ("freeze: ['']", "5: freeze.0: an empty pattern matches nothing -> write a name, or a pattern"),
    ],
)
def test_what_is_wrong_is_named_with_its_line_and_what_would_be_right(problems, change, message):
    (problem,) = problems(f"{SMALL}{change}\n")
    assert message in problem
