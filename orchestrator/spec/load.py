"""A job file and its `--set` overrides → a checked spec, or every problem at once."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from orchestrator.spec.explain import explain
from orchestrator.spec.model import JobSpec, misfits
from orchestrator.spec.problems import Loc, Problem, SpecError, dotted
from orchestrator.spec.script import ScriptSpec
from orchestrator.spec.yaml_lines import parse
from workers.errors import InputError

FILE_BYTES_MAX = 1_000_000
#: The sections that rules between sections read.
SECTIONS = frozenset({"batch", "workers", "data", "stop", "evaluate", "init_from", "checkpoint", "name"})


@dataclass(kw_only=True)
class _Draft:
    """Values not checked yet, and for each field where it was written."""

    name: str
    values: dict[str, Any]
    origins: dict[Loc, str]
    problems: list[Problem] = field(default_factory=list)

    def origin(self, loc: Loc) -> str:
        """Where `loc`, or the section that it is missing from, was written."""
        while loc and loc not in self.origins:
            loc = loc[:-1]
        return self.origins.get(loc, self.name)


def load_job(path: Path, overrides: Sequence[str] = ()) -> JobSpec | ScriptSpec:
    """Read, override and check a job file: of a recipe, or of a script job, which has a `command` instead.

    Args:
        path: the YAML file. Relative paths in it, and in overrides, start from its folder.
        overrides: `section.field=value`, the value in YAML; later ones win.

    Raises:
        SpecError: all that is wrong, each problem with its place and the nearest valid name.
        InputError: the file cannot be read at all.
    """
    draft = _read(path)
    for override in overrides:
        _override(draft, override)
    return _checked(draft, {"base": path.absolute().parent})


def load_recipe_job(path: Path, overrides: Sequence[str] = ()) -> JobSpec:
    """`load_job`, for what only a recipe has.

    Raises:
        InputError: it is a script job; or as `load_job`.
    """
    spec = load_job(path, overrides)
    if isinstance(spec, ScriptSpec):
        fix = "name the file of a job that has a recipe"
        raise InputError("a script job: nothing is known of its steps", where=str(path), fix=fix)
    return spec


def check_job(values: Mapping[str, Any], where: str = "job") -> JobSpec | ScriptSpec:
    """Check a job's fields that were sent as JSON (`spec.model_dump(mode="json")`); paths in it are absolute.

    Args:
        where: what to call them in messages.

    Raises:
        SpecError: all that is wrong.
    """
    return _checked(_Draft(name=where, values=dict(values), origins={}), {})


def _checked(draft: _Draft, context: dict[str, Any]) -> JobSpec | ScriptSpec:
    model = _kind(draft)
    try:
        spec = model.model_validate(draft.values, context=context)
    except ValidationError as error:
        draft.problems += _problems(draft, error.errors(), model, context)
    if draft.problems:
        raise SpecError(sorted(draft.problems, key=_line))
    return spec


def _kind(draft: _Draft) -> type[JobSpec] | type[ScriptSpec]:
    """What the job is, by which of `recipe` and `command` it has."""
    values = draft.values
    for name, other in (("command", "recipe"), ("recipe", "command")):
        if name in values and values[name] is None and values.get(other) is not None:
            del values[name]  # --set recipe=null
    if "recipe" in values and "command" in values:
        what, fix = "a recipe is given too", "give exactly one; --set recipe=null takes one away"
        origin = draft.origin(("command",))
        draft.problems.append(Problem(where=origin, field="command", what=what, fix=fix))
        del values["command"]
    if "recipe" not in values and get_close_matches("command", values, n=1, cutoff=0.75):
        return ScriptSpec
    return JobSpec


def _line(problem: Problem) -> float:
    """The line that a problem stands on; overrides come after the file."""
    number = problem.where.rpartition(":")[2]
    return int(number) if number.isdecimal() else math.inf


def _read(path: Path) -> _Draft:
    try:
        if path.stat().st_size > FILE_BYTES_MAX:
            raise InputError(f"larger than {FILE_BYTES_MAX:,} bytes", where=str(path), fix="name a job file")
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError("there is no such job file", where=str(path)) from None
    except UnicodeDecodeError:
        raise InputError("not a text file in UTF-8", where=str(path), fix="name a job file") from None
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", where=str(path)) from None
    document = parse(text, str(path))
    values = document.value
    if not isinstance(values, dict):
        if document.problems:
            raise SpecError(document.problems)
        what = "empty" if values is None else "not a list of fields"
        raise InputError(what, where=str(path), fix="write `name: value` lines; see the examples' job.yaml")
    origins = {loc: f"{path}:{line}" for loc, line in document.lines.items()}
    return _Draft(name=str(path), values=values, origins=origins, problems=document.problems)


def _override(draft: _Draft, override: str) -> None:
    where = f"--set {override}"
    key, equals, text = override.partition("=")
    loc = tuple(key.strip().split("."))
    if not equals or not all(loc):
        fix = "write --set section.field=value, as in --set batch.size=128"
        draft.problems.append(Problem(where=where, field="", what="not a field and a value", fix=fix))
        return
    document = parse(text, where)
    draft.problems += [
        Problem(where=where, field=dotted(loc), what=problem.what, fix=problem.fix)
        for problem in document.problems
    ]
    section = draft.values
    for depth, part in enumerate(loc[:-1], start=1):
        if section.get(part) is None:
            section[part] = {}
            draft.origins[loc[:depth]] = where
        if not isinstance(section[part], dict):
            what = f"{dotted(loc[:depth])} is a value, not a section"
            draft.problems.append(Problem(where=where, field=dotted(loc), what=what))
            return
        section = section[part]
    section[loc[-1]] = document.value
    draft.origins = {old: origin for old, origin in draft.origins.items() if old[: len(loc)] != loc}
    draft.origins[loc] = where


def _problems(
    draft: _Draft,
    errors: Sequence[ErrorDetails],
    model: type[JobSpec] | type[ScriptSpec],
    context: dict[str, Any],
) -> Iterator[Problem]:
    """What pydantic found, then the broken rules between those sections that it found no fault with."""
    for error in errors:
        if error["loc"] and error["type"] != "default_factory_not_called":
            loc, what, fix = explain(error, model)
            yield Problem(where=draft.origin(loc), field=dotted(loc), what=what, fix=fix)
    if model is ScriptSpec:
        return
    faulty = {error["loc"][0] for error in errors if error["loc"]}
    sound = {
        name: TypeAdapter[Any](info.rebuild_annotation()).validate_python(draft.values[name], context=context)
        if name in draft.values
        else info.get_default(call_default_factory=True, validated_data={})
        for name, info in JobSpec.model_fields.items()
        if name in SECTIONS and name not in faulty and (name in draft.values or not info.is_required())
    }
    for loc, rule in misfits(sound):
        fix = (rule.context or {}).get("fix")
        yield Problem(where=draft.origin(loc), field=dotted(loc), what=rule.message(), fix=fix)
