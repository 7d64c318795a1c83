"""`--set` of `lockstep simulate`."""

from __future__ import annotations

import pytest

from orchestrator.simulator.options import parse
from workers.errors import InputError


def test_names_reach_their_groups_and_values_have_their_types():
    found = parse(
        ["costs.restart=60", "nodes.zones=3", "policy.service_levels=60,3600", "policy.preemption=false"]
    )
    assert (found.costs.restart, found.nodes.zones) == (60.0, 3)
    assert (found.policy.service_levels, found.policy.preemption) == ((60.0, 3600.0), False)


def test_what_may_be_none_takes_a_number():
    assert parse(["faults.node_seconds=1e6"]).faults.node_seconds == 1e6


@pytest.mark.parametrize(
    ("text", "fix"),
    [
        ("costs.restrat=60", "costs.restart"),
        ("restart=60", "costs.restart"),
        ("policy.policy=fair", "policy."),
        ("costs.restart", "costs.restart"),
        ("costs.restart=soon", "a number"),
        ("nodes.zones=1.5", "a whole number"),
        ("costs.stop=-1", "from 0"),
        ("policy.preemption=maybe", "true or false"),
    ],
)
def test_wrong_ones_are_refused_with_what_would_be_right(text, fix):
    with pytest.raises(InputError) as caught:
        parse([text])
    assert fix in (caught.value.fix or "")
