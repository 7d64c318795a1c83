"""Who belongs to the next generation."""

from __future__ import annotations

import pytest

from orchestrator.gang import Gang, Policy
from orchestrator.gang.commands import Commit, Dismiss, Form, Hire, Recall
from orchestrator.gang.forming import choose, form, gather, hire
from orchestrator.gang.saves import retry_commits
from orchestrator.gang.states import Draining, Forming, Gathering, Member, Recalling, Saving, Stage
from workers.protocol import Membership

NOW = 1000.0
SOON, LATER = NOW + 1.0, NOW + 100.0


def member(id: str, step: int | None = None, stage: Stage = Stage.TRAINING, node: str = "n") -> Member:
    return Member(id=id, stage=stage, node=node, store=f"{id}:1", step=step)


def gang(*crew: Member, workers: str = "", target: int = 3, draining: dict | None = None, **policy) -> Gang:
    """`workers`: the letters of who belongs to the current generation, by rank."""
    hosted = tuple((n,) for n in range(len(workers)))
    membership = (
        Membership(generation=4, workers=tuple(workers), hosted=hosted, store="") if workers else None
    )
    return Gang(
        policy=Policy(**{"virtual_ranks": 8, **policy}),
        phase=Gathering(),
        target=target,
        crew={each.id: each for each in crew},
        membership=membership,
        draining={node: Draining(deadline=at) for node, at in (draining or {}).items()},
    )


READY = {"stage": Stage.READY}

CASES = {
    "members by rank, then those who wait": (
        gang(member("x", **READY), member("b", 5), member("a", 5), workers="ab"),
        "abx",
    ),
    "who starts cannot": (gang(member("a", 5), member("s", stage=Stage.STARTING), workers="a"), "a"),
    "not more than are wanted": (
        gang(member("a", 5), member("b", 5), member("c", 5), workers="abc", target=2),
        "ab",
    ),
    "not more than virtual ranks": (
        gang(member("a", 5), member("b", 5), workers="ab", virtual_ranks=1),
        "a",
    ),
    "who is furthest is there, whatever is wanted": (
        gang(member("a", 4), member("b", 4), member("c", 5), workers="abc", target=1),
        "ac",
    ),
    "where there is only one virtual rank, who is furthest has it": (
        gang(member("a", 4), member("b", 5), workers="ab", target=1, virtual_ranks=1),
        "b",
    ),
    "who must leave makes room": (
        gang(
            member("a", 5, node="going"),
            member("b", 5),
            member("x", **READY),
            workers="ab",
            target=2,
            draining={"going": LATER},
        ),
        "bx",
    ),
    "who must leave stays as long as nobody else can": (
        gang(member("a", 5, node="going"), member("b", 5), workers="ab", draining={"going": LATER}),
        "ab",
    ),
    "but not to the very end": (
        gang(member("a", 5, node="going"), member("b", 5), workers="ab", draining={"going": SOON}),
        "b",
    ),
    "unless there is nobody else": (
        gang(member("a", 5, node="going"), workers="a", draining={"going": SOON}),
        "a",
    ),
    "or it alone can hand the state on": (
        gang(
            member("a", 5, node="going"),
            member("x", **READY),
            workers="a",
            target=1,
            draining={"going": SOON},
        ),
        "ax",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_who_is_chosen(case):
    state, expected = CASES[case]
    assert "".join(each.id for each in choose(state, NOW)) == expected


def test_who_is_left_out_and_is_behind_is_let_go():
    state = gang(member("a", 5), member("b", 5), member("c", 4), workers="abc", target=2)
    after, (formed, dismissed) = form(state, NOW, "shrink")
    assert isinstance(formed, Form)
    assert dismissed == Dismiss(worker="c", why="shrink")
    assert list(after.crew) == ["a", "b"]


def test_who_is_left_out_and_holds_the_state_keeps_it_for_the_others():
    state = gang(member("a", 4), member("b", 5), member("c", 5), workers="abc", target=2)
    after, (formed,) = form(state, NOW, "shrink")
    assert isinstance(formed, Form)
    assert formed.keepers == ("c",)
    assert (after.crew["c"].stage, after.crew["c"].why) == (Stage.LEAVING, "shrink")


def test_the_first_generation_waits_for_the_rest_only_where_nobody_holds_a_state():
    starting = member("s", stage=Stage.STARTING)
    waits, commands = gather(gang(member("a", **READY), starting), NOW)
    assert (waits.phase, commands) == (Gathering(since=NOW), ())
    goes_on, _ = gather(gang(member("a", 5), starting, workers="a"), NOW)
    assert isinstance(goes_on.phase, Forming)


def test_a_manifest_that_waits_is_tried_before_a_checkpoint_is_looked_for_and_not_again_meanwhile():
    commit = Commit(step=5, draft={}, chunks={})
    state = gang(member("x", **READY), workers="a", saves=True)
    state = Gang(**{**vars(state), "committing": {5: Saving(command=commit, retry_at=LATER)}})
    after, commands = form(state, NOW, "a gone")
    assert commands == (commit, Recall())
    assert after.phase == Recalling()
    failed = Gang(**{**vars(after), "committing": {5: Saving(command=commit, retry_at=NOW)}})
    assert retry_commits(failed, NOW) == (failed, ())


def test_who_is_missing_is_hired_away_from_nodes_that_go():
    state = gang(member("a", 5, node="going"), member("b", 5), workers="ab", draining={"going": LATER})
    after, (command,) = hire(state, NOW)
    assert command == Hire(workers=("worker-0", "worker-1"), avoid=frozenset({"going"}))
    assert hire(after, NOW) == (after, ())
