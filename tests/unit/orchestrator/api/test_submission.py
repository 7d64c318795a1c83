"""Whatever is sent as a job is a job, or refused in words."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.api.errors import Wrong
from orchestrator.api.submission import read_spec
from orchestrator.spec import JobSpec, ScriptSpec
from tests.support.service import spec

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)
FIELDS = st.sampled_from([*JobSpec.model_fields, "command", "env", "grace", "nonsense"])


@given(st.dictionaries(FIELDS, JSON, max_size=6), st.booleans())
def test_anything_is_a_job_or_refused_in_words(changes, whole):
    try:
        found: object = read_spec({**(spec() if whole else {}), **changes})
    except Wrong as wrong:
        found = wrong
    assert isinstance(found, JobSpec | ScriptSpec) or (found.status_code == 422 and found.what)


@pytest.mark.parametrize(
    "given_",
    [
        spec(),
        spec(freeze=["encoder.*"], params={"list": [1, 2.5], "deep": {"a": None}}),
        spec(checkpoint={"uri": "s3://bucket/runs", "every": "5m"}),
        {"name": "ddp", "command": ["python", "train.py"], "workers": {"min": 2}, "env": {"A": "1"}},
    ],
)
def test_what_is_stored_of_a_job_reads_back_as_the_same_job(given_):
    job = read_spec(given_)
    stored = json.loads(json.dumps(job.model_dump(mode="json")))
    assert read_spec(stored) == job
