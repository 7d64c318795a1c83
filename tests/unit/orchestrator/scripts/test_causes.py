from __future__ import annotations

import pytest

from orchestrator.scripts.causes import find_cause
from orchestrator.scripts.states import Member
from tests.support.script_group import exited, failed, gone
from workers.protocol import Fault
from workers.script.protocol import Refused

PEER = "torch.distributed.DistNetworkError: Connection closed by peer [127.0.0.1]:4242"


def _cause(*ends, told: tuple[int, ...] = ()):
    members = [Member(rank=end.rank, end=end, told=end.rank in told) for end in ends]
    return find_cause(members)


@pytest.mark.parametrize(
    ("ends", "fault", "rank"),
    [
        ([failed(0, error=PEER), exited(1, signal=9)], Fault.CRASH, 1),
        ([failed(0, error=PEER), failed(1, error="ValueError: no")], Fault.USER, 1),
        ([exited(0, signal=6), failed(1, error="ValueError: no")], Fault.USER, 1),
        ([exited(0, signal=6), failed(1, error=PEER)], Fault.CRASH, 0),
        ([exited(0, signal=11), failed(1, error="ValueError: no")], Fault.CRASH, 0),
        ([exited(0, signal=9), gone(1, fault=Fault.NODE)], Fault.NODE, 1),
        ([failed(0, error=PEER), failed(1, error=PEER)], Fault.LINK, 0),
        ([failed(0, error="torch.OutOfMemoryError: CUDA out of memory.")], Fault.MEMORY, 0),
        ([failed(0, error="MemoryError")], Fault.MEMORY, 0),
        ([failed(0, time=2.0, error="A: 1"), failed(1, time=1.0, error="B: 2")], Fault.USER, 1),
        ([exited(0, code=137), exited(1, code=1, last=PEER)], Fault.CRASH, 0),
        ([Refused(rank=0, attempt=0, time=9.0, message="no"), failed(1)], Fault.INPUT, 0),
    ],
)
def test_the_one_thing_that_the_rest_are_consequences_of(ends, fault, rank):
    for order in (ends, list(reversed(ends))):
        cause = _cause(*order)
        assert (cause.fault, cause.rank) == (fault, rank)


def test_who_was_asked_to_end_and_did_is_not_the_cause():
    cause = _cause(exited(0, signal=15), failed(1), exited(2, code=143), exited(3, signal=9), told=(0, 2, 3))
    assert cause.rank == 1


def test_a_kill_from_outside_says_what_may_be_behind_it():
    assert (
        _cause(exited(0, signal=9)).message == "rank 0 was ended by SIGKILL: the machine may be out of memory"
    )


def test_a_program_without_a_traceback_is_quoted():
    cause = _cause(exited(0, code=3, last="loading\nno such data set"))
    assert cause.message == "rank 0 ended with exit code 3: no such data set"
    assert cause.signature == ("exit code 3",)


def test_two_tracebacks_of_one_mistake_have_one_signature():
    first, second = _cause(failed(0, error="E: 1")), _cause(failed(1, error="E: 2"))
    assert first.signature == second.signature
    assert first.signature != _cause(failed(0, error="E: 1", line=4)).signature
    assert first.signature != _cause(failed(0, error="F: 1")).signature
