from __future__ import annotations

from orchestrator.scripts.adoption import adopt
from orchestrator.scripts.commands import Dismiss, Hire, Launch, Retry, Terminate
from orchestrator.scripts.job import Policy
from orchestrator.scripts.states import Ended, Ending, Hiring, Running
from tests.support.script_group import JOB, exited, up
from workers.script.protocol import Recollection, Started


def _memory(rank: int, *more, attempt: int = 3, ranks: int = 2) -> Recollection:
    reports = (up(rank, attempt), *more)
    return Recollection(rank=rank, attempt=attempt, ranks=ranks, reports=reports, position=9)


def _started(rank: int, attempt: int = 3) -> Started:
    return Started(rank=rank, attempt=attempt, time=0.0, pid=7)


def _adopt(*memories, workers: int = 2):
    return adopt(JOB, Policy(), workers, None, memories, 50.0)


def test_ranks_that_run_go_on():
    group, commands = _adopt(_memory(0, _started(0)), _memory(1, _started(1)), workers=5)
    assert isinstance(group.phase, Running)
    assert (group.attempt, group.target, [member.pid for member in group.members]) == (3, 2, [7, 7])
    assert [type(command) for command in commands] == [Launch]  # of which who runs takes no notice


def test_a_rank_that_ended_meanwhile_is_heard_of():
    group, commands = _adopt(_memory(0, _started(0)), _memory(1, _started(1), exited(1, 3, signal=9)))
    assert isinstance(group.phase, Ending)
    assert [type(command) for command in commands] == [Launch, Terminate]


def test_a_job_that_was_done_meanwhile_is_done():
    ends = [_memory(rank, _started(rank), exited(rank, 3)) for rank in range(2)]
    group, _ = _adopt(*ends)
    assert isinstance(group.phase, Ended)
    assert group.phase.outcome.done


def test_a_rank_that_is_not_found_takes_the_group_with_it():
    group, commands = _adopt(_memory(1, _started(1)))
    assert [type(command) for command in commands] == [Dismiss, Retry]
    assert group.attempt == 3


def test_where_nobody_is_found_the_job_begins():
    group, commands = _adopt()
    assert isinstance(group.phase, Hiring)
    assert commands == (Hire(attempt=0, ranks=2),)
