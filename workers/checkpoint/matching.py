"""Which tensors of an earlier state a job begins with: its own keys → theirs, or what does not fit. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping

from workers.checkpoint.tensors import TensorSpec
from workers.errors import CheckpointError
from workers.patterns import chosen, nearest
from workers.protocol import InitFrom

_PROBLEMS_SHOWN = 12
_MODEL, _OPTIMIZER = "model/", "optimizer/"

#: In words, when they are shown: to look for the nearest name takes long where there are many.
Problem = Callable[[], str]


def match(
    start: InitFrom,
    own: Mapping[str, TensorSpec],
    theirs: Mapping[str, TensorSpec],
    optional: Collection[str] = (),
) -> dict[str, str]:
    """The tensors to take: key of this job → key there, in the order of the keys.

    Without patterns both must have the same `model/` tensors; with the pattern `*`, the same `extra/` tensors
    too. Other patterns choose among the keys of this job, and what else is there is left alone. The state of
    the optimizer is no matter of this function.

    Args:
        start: what was asked for.
        own: what the job has before its first step.
        theirs: what is there.
        optional: keys of this job that need not be there: constants that other formats leave out.

    Raises:
        CheckpointError: everything that does not fit.
    """
    mine = {key: spec for key, spec in own.items() if not key.startswith(_OPTIMIZER)}
    there = {key for key in theirs if not key.startswith(_OPTIMIZER)}
    renamed, problems = _renamed(start.rename, there)
    patterns = ("model/*",) if start.tensors is None else start.tensors
    wanted, idle = chosen(patterns, mine)
    problems += [_idle(pattern, mine) for pattern in idle]
    problems += [p for key in sorted(wanted) for p in _differences(key, mine, renamed, theirs, optional)]
    if start.tensors is None or start.whole:
        scope = "" if start.whole else _MODEL
        strangers = {key for key in renamed if key.startswith(scope)} - mine.keys()
        problems += [_stranger(renamed[key], key, mine) for key in sorted(strangers)]
    if problems:
        raise misfit(start, problems)
    return {key: renamed[key] for key in sorted(wanted) if key in renamed}


def misfit(start: InitFrom, problems: list[Problem]) -> CheckpointError:
    """The one error for all that does not fit."""
    lines = [problem() for problem in problems[:_PROBLEMS_SHOWN]]
    if len(problems) > len(lines):
        lines.append(f"... and {len(problems) - len(lines)} more")
    what = "this job cannot begin with what is there:" + "".join(f"\n  {line}" for line in lines)
    fix = "choose tensors with init_from.tensors, map their names with init_from.rename, or change the recipe"
    return CheckpointError(what, where=f"init_from: {start.uri}", fix=fix)


def _renamed(rename: Mapping[str, str], there: Collection[str]) -> tuple[dict[str, str], list[Problem]]:
    """Keys as this job calls them → keys as they are there. The longest beginning counts."""
    renamed: dict[str, str] = {}
    problems = [_no_beginning(old, there) for old in rename if not any(k.startswith(old) for k in there)]
    for key in sorted(there):
        old = max((old for old in rename if key.startswith(old)), key=len, default="")
        new = rename.get(old, "") + key.removeprefix(old)
        if new in renamed:
            problems.append(_collision(renamed[new], key, new))
        renamed[new] = key
    return renamed, problems


def _differences(
    key: str,
    mine: Mapping[str, TensorSpec],
    renamed: Mapping[str, str],
    theirs: Mapping[str, TensorSpec],
    optional: Collection[str],
) -> Iterator[Problem]:
    if key not in renamed:
        if key not in optional:
            yield lambda: f"{key} is not there{nearest(key, renamed.keys())}"
        return
    here, there = mine[key], theirs[renamed[key]]
    if (here.dtype, here.shape) != (there.dtype, there.shape):
        name = key if renamed[key] == key else f"{key} ({renamed[key]} there)"
        yield lambda: f"{name} is {there.dtype} {there.shape} there and {here.dtype} {here.shape} here"


def _idle(pattern: str, mine: Collection[str]) -> Problem:
    if pattern.startswith(_OPTIMIZER):
        return lambda: f'{pattern}: the optimizer\'s state is taken as a part of the whole, tensors: ["*"]'
    return lambda: f"{pattern} matches no tensor of this job{nearest(pattern, mine)}"


def _stranger(theirs: str, key: str, mine: Collection[str]) -> Problem:
    return lambda: f"{theirs} is there, and this job has no {key}{nearest(key, mine)}"


def _no_beginning(old: str, there: Collection[str]) -> Problem:
    return lambda: f"rename: no key there begins with {old}{nearest(old, there)}"


def _collision(one: str, other: str, new: str) -> Problem:
    return lambda: f"rename: both {one} and {other} become {new}"
