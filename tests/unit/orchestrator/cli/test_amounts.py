"""Amounts as people write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.cli.amounts import amounts, words
from workers.errors import InputError


def test_amounts_are_what_the_scheduler_counts_in():
    found = amounts(["gpus=8", "cpus=0.5", "memory=64"], "--quota")
    assert found == {"gpu_millis": 8000, "cpu_millis": 500, "memory_mib": 65536}
    assert words(found) == "0.5 CPUs, 8 GPUs, 64 GiB"
    assert words(None) == words({}) == words({"gpu_millis": None}) == "-"


@pytest.mark.parametrize(
    "word", ["gpus", "gpus=", "gpu=1", "gpus=-1", "gpus=nan", "gpus=inf", "=1", "gpus=1,5", "gpus=1e99"]
)
def test_what_is_no_amount_is_refused_with_an_example(word):
    with pytest.raises(InputError, match="no amount") as found:
        amounts([word], "--limit")
    assert "gpus=8" in found.value.fix


@given(st.dictionaries(st.sampled_from(["cpus", "gpus", "memory"]), st.integers(1, 10**6)))
def test_whole_amounts_are_exact(given):
    factors = {"cpus": ("cpu_millis", 1000), "gpus": ("gpu_millis", 1000), "memory": ("memory_mib", 1024)}
    found = amounts([f"{kind}={value}" for kind, value in given.items()], "--quota")
    assert found == {factors[kind][0]: value * factors[kind][1] for kind, value in given.items()}
