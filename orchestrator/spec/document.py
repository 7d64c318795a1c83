"""Writes docs/job-file.md from the models, so that the page cannot say anything else than the code.

python -m orchestrator.spec.document > docs/job-file.md
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

from orchestrator.spec.model import JobSpec
from orchestrator.spec.script import ScriptSpec

_HEAD = """\
# The job file

YAML. Every field can be overridden on the command line: `--set batch.size=128`. Paths may be
`s3://bucket/prefix` (or `gs://`, `az://`), `file:///folder`, or paths relative to the job file. This page is
written by `python -m orchestrator.spec.document`.
"""
_SCRIPT = """
## Script jobs

With `command` in place of `recipe`, the job is any program that `torchrun` could start
([what that means](script-jobs.md)).
"""
_TABLE = """\
| field | type | default | what it is |
|---|---|---|---|"""


def page() -> str:
    """The page, in Markdown."""
    return "\n".join([_HEAD, *_table(JobSpec), _SCRIPT, *_table(ScriptSpec)]) + "\n"


def _table(model: type[BaseModel]) -> Iterator[str]:
    schema = model.model_json_schema()
    yield _TABLE
    for name, kind, default, text in _fields(schema, schema):
        yield f"| `{name}` | {kind} | {default} | {text} |"


def _fields(
    section: dict[str, Any], schema: dict[str, Any], prefix: str = ""
) -> Iterator[tuple[str, str, str, str]]:
    """Every field that holds a value, by its dotted name, sections opened in place."""
    required = set(section.get("required", ()))
    for name, field in section["properties"].items():
        options = [_resolved(option, schema) for option in field.get("anyOf", [field])]
        items = [_resolved(option["items"], schema) for option in options if option.get("type") == "array"]
        inner = next((option for option in [*options, *items] if "properties" in option), None)
        if inner is None or items:
            text = field.get("description", "").replace("|", "\\|")
            yield f"{prefix}{name}", _kind(options), _default(field, name in required), text
        if inner is not None:
            within = f"{prefix}{name}[]" if items else f"{prefix}{name}"
            for dotted, kind, default, text in _fields(inner, schema, f"{within}."):
                needed = default if name in required else default.replace("**required**", f"with `{within}`")
                yield dotted, kind, needed, text


def _resolved(option: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    reference = option.get("$ref") or next((part["$ref"] for part in option.get("allOf", ())), None)
    return schema["$defs"][reference.rsplit("/", 1)[1]] if reference else option


def _kind(options: list[dict[str, Any]]) -> str:
    names = {"integer": "integer", "number": "number", "string": "text", "object": "mapping", "array": "list"}
    kinds = []
    for option in options:
        if "enum" in option:
            kinds.append(" \\| ".join(option["enum"]))
        elif option.get("type") in names:
            kinds.append(names[option["type"]])
    return " or ".join(kinds)


def _default(field: dict[str, Any], required: bool) -> str:
    if required:
        return "**required**"
    default = field.get("default")
    return "" if default is None else f"`{default}`"


if __name__ == "__main__":
    print(page(), end="")
