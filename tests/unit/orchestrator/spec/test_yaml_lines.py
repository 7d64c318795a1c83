from __future__ import annotations

import json

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.spec.yaml_lines import parse, scalar

LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8", exclude_categories=["C", "Zl", "Zp"]))
)
KEYS = st.text(st.characters(codec="ascii", exclude_categories=["C"]), min_size=1)
TREES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=12,
)


@settings(max_examples=200, deadline=None)
@given(TREES)
def test_any_json_document_reads_as_itself(tree):
    document = parse(json.dumps(tree, ensure_ascii=False), "x.json")
    assert document.value == tree
    assert not document.problems


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(st.from_regex(r"[a-z]{1,8}", fullmatch=True), LEAVES, min_size=1))
def test_each_key_of_a_block_mapping_is_on_its_own_line(values):
    text = "".join(f"{key}: {json.dumps(value, ensure_ascii=False)}\n" for key, value in values.items())
    document = parse(text, "job.yaml")
    assert document.lines == {(key,): number for number, key in enumerate(values, start=1)}


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=60))
def test_no_text_makes_the_parser_raise(text):
    parse(text, "job.yaml")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("3", 3),
        ("-3", -3),
        ("0.5", 0.5),
        (".5", 0.5),
        ("true", True),
        ("Null", None),
        ("~", None),
        ("on", "on"),
        ("no", "no"),
        ("12:30", "12:30"),
        ("2024-01-01", "2024-01-01"),
        ("0x10", "0x10"),
        (".inf", ".inf"),
        ("5m", "5m"),
    ],
)
def test_unquoted_words_mean_what_they_look_like(text, value):
    assert scalar(text) == value
    assert type(scalar(text)) is type(value)


def test_quoted_words_are_text():
    assert parse("a: '3'\nb: \"true\"\nc: ''", "x").value == {"a": "3", "b": "true", "c": ""}


def test_lines_of_nested_fields_and_list_items_are_known():
    document = parse("a:\n  b: 1\n  c:\n    - x\n    - {d: 2}\n", "x")
    assert document.lines == {
        ("a",): 1,
        ("a", "b"): 2,
        ("a", "c"): 3,
        ("a", "c", 0): 4,
        ("a", "c", 1): 5,
        ("a", "c", 1, "d"): 5,
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a:\n  b: 1\n  b: 2\n", "job.yaml:3: a.b: given twice; the first is on line 2"),
        ("a: &x 1\nb: *x\n", "job.yaml:2: aliases are not supported"),
        ("a: 1\nb: !!python/object:os.system 1\n", "job.yaml:2: b: the tag `!!python/object:os.system`"),
        ("a: 1\nb: {c: 2\n", "job.yaml:3: not valid YAML"),
        ("a: 1\n[x]: 2\n", "job.yaml:2: a key must be plain text"),
        ("a: 1\n---\nb: 2\n", "job.yaml:2: not valid YAML"),
        ("a: \x07\n", "job.yaml: not valid YAML"),
        ("a: " + "[" * 100_000, "job.yaml:1: nested more than 32 deep"),
    ],
)
def test_what_is_refused_is_refused_with_its_line(text, message):
    (problem,) = parse(text, "job.yaml").problems
    assert str(problem).startswith(message)


def test_no_alias_can_blow_a_document_up():
    bomb = "a: &a [x, x]\n" + "".join(
        f"{b}: &{b} [*{a}, *{a}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
    )
    assert yaml.compose(bomb) is not None  # PyYAML would build it
    assert parse(bomb, "x").value is None
