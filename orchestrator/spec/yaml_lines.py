"""YAML with line numbers: plain data, and for each value the line that its key stands on.

The reading is YAML 1.2's core schema without its surprises: `1e-3` is a number, `on` and `12:30` are text.
Keys are always text. Refused: keys given twice (PyYAML keeps the last in silence), aliases (they make
small files huge), tags, infinity and not-a-number.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import yaml

from orchestrator.spec.problems import Loc, Problem, dotted

DEPTH_MAX = 32
_INT = re.compile(r"[-+]?[0-9]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_WORDS = {"": None, "~": None, "null": None, "true": True, "false": False}
_PLAIN_TAGS = {f"tag:yaml.org,2002:{kind}" for kind in ("str", "seq", "map")}


@dataclass(kw_only=True)
class Document:
    """A parsed document.

    Attributes:
        value: dicts, lists and scalars; None for an empty document.
        lines: the line (from 1) of each value's key, or of the item in a list.
        problems: what is not allowed in it, in order.
    """

    name: str
    value: Any = None
    lines: dict[Loc, int] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)


def parse(text: str, name: str) -> Document:
    """Parse `text`; `name` stands in front of the line number in messages. Never raises."""
    document = Document(name=name)
    try:
        if _is_tame(document, text):
            node = yaml.compose(text, Loader=yaml.BaseLoader)
            document.value = None if node is None else _build(document, node, ())
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        _complain(document, mark, (), f"not valid YAML: {error.problem or error.context}", None)
    except yaml.YAMLError as error:
        _complain(document, None, (), f"not valid YAML: {error}", None)
    return document


def _is_tame(document: Document, text: str) -> bool:
    """Whether the document can be built without growing beyond its text or the stack."""
    depth = 0
    for event in yaml.parse(text, Loader=yaml.BaseLoader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if isinstance(event, yaml.AliasEvent):
            what, fix = "aliases are not supported", "write the value out in both places"
        elif depth > DEPTH_MAX:
            what, fix = f"nested more than {DEPTH_MAX} deep", "flatten it"
        else:
            continue
        _complain(document, event.start_mark, (), what, fix)
        return False
    return True


def _build(document: Document, node: yaml.Node, loc: Loc) -> Any:
    if node.tag not in _PLAIN_TAGS:
        what = f"the tag `{node.tag.replace('tag:yaml.org,2002:', '!!')}` is not supported"
        _complain(document, node.start_mark, loc, what, "leave it out")
    if isinstance(node, yaml.MappingNode):
        return _mapping(document, node, loc)
    if isinstance(node, yaml.SequenceNode):
        for position, item in enumerate(node.value):
            document.lines[*loc, position] = item.start_mark.line + 1
        return [_build(document, item, (*loc, position)) for position, item in enumerate(node.value)]
    quoted = isinstance(node, yaml.ScalarNode) and node.style is not None
    return node.value if quoted else scalar(node.value)


def _mapping(document: Document, node: yaml.MappingNode, loc: Loc) -> dict[str, Any]:
    built: dict[str, Any] = {}
    for key_node, value_node in node.value:
        if not isinstance(key_node, yaml.ScalarNode):
            _complain(document, key_node.start_mark, loc, "a key must be plain text", None)
            continue
        key = str(key_node.value)
        if key in built:
            what = f"given twice; the first is on line {document.lines[*loc, key]}"
            _complain(document, key_node.start_mark, (*loc, key), what, "keep one of them")
            continue
        document.lines[*loc, key] = key_node.start_mark.line + 1
        built[key] = _build(document, value_node, (*loc, key))
    return built


def scalar(text: str) -> Any:
    """What an unquoted word means: None, a bool, an int, a float, or the text itself."""
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    if _INT.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    return text


def _complain(document: Document, mark: Any, loc: Loc, what: str, fix: str | None) -> None:
    where = document.name if mark is None else f"{document.name}:{mark.line + 1}"
    document.problems.append(Problem(where=where, field=dotted(loc), what=what, fix=fix))
