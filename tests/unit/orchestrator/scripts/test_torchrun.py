from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.scripts.torchrun import environments
from tests.support.script_group import JOB, up
from workers.script.protocol import RESERVED


def test_two_nodes_look_as_under_torchrun():
    ups = [up(0, node="n0"), up(1, node="n0"), up(2, node="n1")]
    found = environments(replace(JOB, cpus=2.5, environment={"LR": "0.1"}), ups, attempt=4)
    names = ("RANK", "LOCAL_RANK", "GROUP_RANK", "LOCAL_WORLD_SIZE", "WORLD_SIZE", "GROUP_WORLD_SIZE")
    assert [tuple(each[name] for name in names) for each in found] == [
        ("0", "0", "0", "2", "3", "2"),
        ("1", "1", "0", "2", "3", "2"),
        ("2", "0", "1", "1", "3", "2"),
    ]
    for each in found:
        assert (each["MASTER_ADDR"], each["MASTER_PORT"]) == ("10.0.0.0", "29500")
        assert each["TORCHELASTIC_RUN_ID"] == "job-1"
        assert each["TORCHELASTIC_RESTART_COUNT"] == "4"
        assert each["OMP_NUM_THREADS"] == "2"
        assert each["LR"] == "0.1"
        assert each["CUDA_VISIBLE_DEVICES"] == ""


def test_the_jobs_own_environment_may_say_how_many_threads():
    (found,) = environments(replace(JOB, environment={"OMP_NUM_THREADS": "7"}), [up(0)], attempt=0)
    assert found["OMP_NUM_THREADS"] == "7"


def test_every_name_that_a_job_may_not_set_is_told():
    (found,) = environments(JOB, [up(0)], attempt=0)
    assert RESERVED - {"TORCHELASTIC_ERROR_FILE"} <= set(found)  # which whoever runs the rank knows


@given(st.lists(st.integers(1, 4), min_size=1, max_size=4), st.integers(1, 3))
def test_cuda_local_rank_is_a_ranks_own_gpu_on_every_node(sizes, each):
    ups, rank = [], 0
    for node, size in enumerate(sizes):
        for local in range(size):
            own = tuple(str(local * each + number) for number in range(each))
            ups.append(up(rank, node=f"n{node}", gpus=own))
            rank += 1
    for found, there in zip(environments(JOB, ups, 0), ups, strict=True):
        visible = found["CUDA_VISIBLE_DEVICES"].split(",")
        assert visible[int(found["LOCAL_RANK"])] == there.gpus[0]
        assert sorted(visible) == sorted(
            gpu for other in ups if other.node_id == there.node_id for gpu in other.gpus
        )


def test_ranks_of_a_node_that_are_not_neighbours_are_a_bug():
    with pytest.raises(ValueError, match="not neighbours"):
        environments(JOB, [up(0, node="n0"), up(1, node="n1"), up(2, node="n0")], attempt=0)
