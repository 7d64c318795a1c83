"""A recipe that does not work is told so in the words, and with the frames, of its author."""

from __future__ import annotations

import json
import sys
import tempfile
from itertools import count
from pathlib import Path

import pytest

from tests.support.events import train_job
from workers.blame import describe, in_user_code, user_trace
from workers.errors import AccessError, RecipeError
from workers.protocol import Fault
from workers.recipe import Recipe
from workers.storage import Store
from workers.training.recipes import load_recipe

GOOD = """
from workers import Recipe
from {helper} import WIDTH

class Toy(Recipe):
    def __init__(self, depth=1):
        self.depth = depth

    def loss(self, model, batch):
        return undefined_name
"""
_numbers = count()


@pytest.fixture
def name(monkeypatch: pytest.MonkeyPatch) -> str:
    """A module name that no other test has used: imports are for the whole process."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    return f"recipe_{next(_numbers)}"


def load(name: str, source: str, cls: str = "Toy", folder: Path | None = None, **params: object) -> Recipe:
    helper = f"{name}_helper"
    sources = {f"{name}.py": source.replace("{helper}", helper).encode(), f"{helper}.py": b"WIDTH = 3"}
    return load_recipe(
        train_job(
            recipe=f"{name}:{cls}", params=params, sources=sources, source_folder=folder and str(folder)
        )
    )


def error_of(name: str, source: str, cls: str = "Toy", **params: object) -> RecipeError:
    with pytest.raises(RecipeError) as caught:
        load(name, source, cls, **params)
    return caught.value


def kept(home: Path) -> list[Path]:
    return sorted((home / "lockstep" / "recipes").iterdir())


def test_what_is_sent_is_kept_once_for_all_processes_and_a_damaged_copy_is_not_used(
    name, tmp_path, monkeypatch
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    load(name, GOOD)
    (folder,) = kept(tmp_path)
    load(name, GOOD)
    assert kept(tmp_path) == [folder]
    (folder / f"{name}.py").write_text("raise SystemExit('altered')")
    sys.modules.pop(name)
    sys.path_importer_cache.clear()
    assert load(name, GOOD, depth=4).depth == 4
    assert len(kept(tmp_path)) == 2


def test_without_a_cache_a_copy_is_made_all_the_same(name, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert load(name, GOOD, depth=4).depth == 4


def test_sources_are_sent_along_and_params_reach_the_constructor(name):
    assert load(name, GOOD, depth=4).depth == 4


def test_the_submitters_own_files_are_used_where_they_are_the_same(name, tmp_path):
    (tmp_path / f"{name}.py").write_text(GOOD.replace("{helper}", f"{name}_helper"))
    (tmp_path / f"{name}_helper.py").write_text("WIDTH = 3")
    kind = type(load(name, GOOD, folder=tmp_path))
    assert Path(sys.modules[kind.__module__].__file__ or "").parent == tmp_path


def test_changed_files_beside_the_job_are_not_what_was_submitted(name, tmp_path):
    (tmp_path / f"{name}.py").write_text("raise SystemExit")
    kind = type(load(name, GOOD, folder=tmp_path))
    assert Path(sys.modules[kind.__module__].__file__ or "").parent != tmp_path


def test_a_missing_module_is_named(name):
    error = error_of("no.such.module", "")
    assert "there is no module no.such.module" in str(error)
    assert error.__cause__ is None


@pytest.mark.parametrize(
    ("source", "words", "frames"),
    [
        ("import nothing_like_it", "No module named 'nothing_like_it'", "import nothing_like_it"),
        ("def f(:\n  pass", "SyntaxError", "def f(:"),
        ("1 / 0", "ZeroDivisionError: division by zero", "1 / 0"),
        ("def f():\n    raise KeyError('x')\nf()", "KeyError: 'x'", "raise KeyError('x')"),
    ],
)
def test_a_module_that_does_not_import_shows_its_authors_frames(name, source, words, frames):
    error = error_of(name, source)
    assert words in str(error)
    assert in_user_code(error.__cause__ or error)
    trace = user_trace(error)
    assert frames in trace
    assert "importlib" not in trace
    assert "workers/training/recipes.py" not in trace


def test_params_that_do_not_fit_are_named(name):
    error = error_of(name, GOOD, depht=4)
    assert "unexpected keyword argument 'depht'" in str(error)


@pytest.mark.parametrize("cls", ["WIDTH", "missing", "", "Recipe"])
def test_what_is_not_a_recipe_is_refused_with_the_recipes_that_there_are(name, cls):
    if cls == "Recipe":
        assert type(load(name, GOOD, cls)) is Recipe  # it says what is missing when it is used
    else:
        assert f"{name} has Toy" in str(error_of(name, GOOD, cls))


def raised(call: object, *arguments: object) -> Exception:
    with pytest.raises(Exception) as caught:  # noqa: PT011
        call(*arguments)  # type: ignore[operator]
    return caught.value


def test_an_error_in_the_recipe_is_the_users_with_their_frame_on_top(name):
    error = raised(load(name, GOOD).loss, None, None)
    told = describe(error)
    assert (told["fault"], told["exit_code"]) == (Fault.USER, 1)
    assert told["message"] == "the recipe raised NameError: name 'undefined_name' is not defined"
    lines = told["trace"].splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert "in raised" in lines[1] or f"{name}.py" in lines[1]


def test_an_error_of_ours_or_of_a_library_is_not_the_users(tmp_path):
    for error in (
        raised(json.loads, "{"),
        raised(Store((tmp_path / "x").as_uri()).get, 5),
    ):
        trace = error.__traceback__
        assert trace is not None
        error.__traceback__ = trace.tb_next  # without this test's own frame
        assert not in_user_code(error)
        assert describe(error)["fault"] is Fault.INTERNAL


def test_a_refusal_of_the_store_shows_no_frames(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    error = raised(Store((tmp_path / "file").as_uri()).put, "x", b"1")
    assert isinstance(error, AccessError)
    told = describe(error)
    assert (told["fault"], told["trace"], told["exit_code"]) == (Fault.INPUT, None, 2)
