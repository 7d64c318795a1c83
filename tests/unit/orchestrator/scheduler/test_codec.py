from __future__ import annotations

import json

import pytest
from hypothesis import given

from orchestrator.scheduler import Config, Plan, Policy, Snapshot, plan
from orchestrator.scheduler.codec import from_json, to_json
from tests.support.examples import examples
from tests.support.scheduling import POLICIES, config, snapshots
from workers.errors import InputError


@pytest.mark.parametrize("policy", POLICIES)
@examples(60)
@given(snapshot=snapshots())
def test_snapshots_and_plans_come_back_as_they_were_and_give_the_same_plan(policy, snapshot):
    again = from_json(Snapshot, to_json(snapshot))
    assert again == snapshot
    found = plan(snapshot, config(policy))
    assert from_json(Plan, to_json(found)) == found
    assert plan(again, config(policy)) == found


def test_a_configuration_comes_back_as_it_was():
    given = Config(policy=Policy.ELASTIC, service_levels=(1.0, 2.5), preemption=False)
    assert from_json(Config, to_json(given)) == given


def test_what_is_written_is_plain_json():
    assert json.loads(to_json(Snapshot(now=1.5)))["now"] == 1.5


def test_something_else_is_refused_with_the_place():
    with pytest.raises(InputError, match="no snapshot"):
        from_json(Snapshot, '{"now": "soon"}')
