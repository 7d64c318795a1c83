"""Pydantic's findings in the user's words, with the nearest valid name."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from typing import Any, get_args

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from orchestrator.spec.model import JobSpec
from orchestrator.spec.problems import Loc, dotted
from orchestrator.spec.script import ScriptSpec

_TYPES = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "finite_number": "a number",
    "string_type": "text",
    "bool_type": "true or false",
    "dict_type": "a section with fields",
    "model_type": "a section with fields",
    "tuple_type": "a list",
}
_LIMITS = {
    "greater_than": "above {gt}",
    "greater_than_equal": "at least {ge}",
    "less_than_equal": "at most {le}",
}


def explain(error: ErrorDetails, model: type[BaseModel] = JobSpec) -> tuple[Loc, str, str | None]:
    """One finding about a job of this kind → the field, what was wrong, what would be right."""
    loc, kind, given = error["loc"], error["type"], error["input"]
    context: dict[str, Any] = error.get("ctx", {})
    if kind == "rule":
        inner = (context["field"],) if context["field"] else ()
        return (*loc, *inner), error["msg"], context["fix"]
    if kind == "extra_forbidden":
        if model is ScriptSpec and _is_field(loc, JobSpec):
            return loc, "means nothing to a script job", "leave it out, or give a recipe instead of a command"
        if model is JobSpec and _is_field(loc, ScriptSpec):
            return loc, "is only for script jobs", "leave it out, or give a command instead of a recipe"
        return loc, "unknown field", nearest_field(loc, model)
    if kind == "missing" and loc == ("recipe",):
        return (
            loc,
            "missing",
            "add it; or, for a script job, command: [python, train.py]",
        )
    if kind == "missing":
        return loc, "missing", "add it"
    if kind in _TYPES:
        quoted = f'write it in quotes: "{_show(given)}"' if _should_be_quoted(kind, given) else None
        return loc, f"should be {_TYPES[kind]}, not {_show(given)}", quoted
    if kind in _LIMITS:
        return loc, f"should be {_LIMITS[kind].format(**context)}, not {_show(given)}", None
    if kind in ("literal_error", "enum"):
        what = f"should be {context['expected']}, not {_show(given)}"
        return loc, what, _did_you_mean(str(given), _words(context["expected"]))
    return loc, error["msg"], None


def nearest_field(loc: Loc, model: type[BaseModel] = JobSpec) -> str:
    """Advice for a field that does not exist: its namesake in another section, or the nearest beside it."""
    wanted = str(loc[-1])
    valid = list(_section(loc[:-1], model).model_fields)
    elsewhere = [name for name in _all_fields(model) if name.split(".")[-1] == wanted]
    return (
        _did_you_mean(dotted(loc), elsewhere, cutoff=0.0)
        or _did_you_mean(wanted, valid)
        or f"valid fields here: {', '.join(valid)}"
    )


def _did_you_mean(wanted: str, valid: list[str], *, cutoff: float = 0.6) -> str | None:
    near = difflib.get_close_matches(wanted, valid, n=1, cutoff=cutoff)
    return f"did you mean {near[0]}?" if near else None


def _is_field(loc: Loc, model: type[BaseModel]) -> bool:
    """Whether a job of this kind has a field there."""
    section: type[BaseModel] | None = model
    for part in loc:
        if section is None or part not in section.model_fields:
            return False
        section = _model_in(section.model_fields[str(part)].annotation)
    return True


def _section(loc: Loc, model: type[BaseModel]) -> type[BaseModel]:
    """The model of the section that stands at `loc`."""
    section = model
    for part in loc:
        if isinstance(part, str):  # not the position in a list
            section = _model_in(section.model_fields[part].annotation) or section
    return section


def _all_fields(section: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for name, info in section.model_fields.items():
        inner = _model_in(info.annotation)
        yield from _all_fields(inner, f"{prefix}{name}.") if inner else [f"{prefix}{name}"]


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The section in `Section`, `Section | None` or a list of sections, or None."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in get_args(annotation) if (found := _model_in(part))), None)


def _should_be_quoted(kind: str, given: Any) -> bool:
    return kind == "string_type" and isinstance(given, (int, float))


def _words(expected: str) -> list[str]:
    return [word.strip(" '") for word in expected.replace(" or ", ",").split(",")]


def _show(given: Any) -> str:
    if isinstance(given, dict):
        return "a section"
    if isinstance(given, list):
        return "a list"
    if given is None:
        return "empty"
    return str(given).lower() if isinstance(given, bool) else repr(given)
